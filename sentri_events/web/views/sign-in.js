// Signing in: a token is pasted, kept in this browser, and sent as a header or turned into a ticket, never put into a URL.

import { html, useState } from "../vendor/htm-preact.js";
import { signIn, token } from "../session.js";

export function SignIn({ sentence }) {
  const [value, setValue] = useState("");
  const submit = (event) => {
    event.preventDefault();
    if (value.trim()) signIn(value.trim());
    setValue("");
  };
  return html`<form class="card sign-in" onSubmit=${submit}>
    <h2>Sign in</h2>
    <p role="alert">${token() ? "The server does not take this token, or no longer." : sentence}</p>
    <label for="token">Token</label>
    <input
      id="token"
      type="password"
      autocomplete="off"
      spellcheck="false"
      value=${value}
      onInput=${(event) => setValue(event.target.value)}
    />
    <button type="submit" class="main">Sign in</button>
    <p class="dim">
      It stays in this browser until you sign out, and is in no URL. Where your platform signs you in by a cookie, do that
      there and come back.
    </p>
  </form>`;
}

/** Forget the token; nothing where there is none. */
export function SignOut() {
  if (!token()) return null;
  return html`<button class="quiet" onClick=${() => signIn(null)}>Sign out</button>`;
}
