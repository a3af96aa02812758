// The token that somebody pasted, for all tabs of this browser. A cookie needs nothing of this.

const KEY = "sentri-events token";
const listeners = new Set();

/** The token, or null. */
export function token() {
  return localStorage.getItem(KEY);
}

/** Keep a token, or forget it with null. */
export function signIn(value) {
  if (value) localStorage.setItem(KEY, value);
  else localStorage.removeItem(KEY);
  for (const listener of listeners) listener();
}

/** Call `listener` when the token changes, here or in another tab. Returns what ends that. */
export function onToken(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

addEventListener("storage", (event) => {
  if (event.key === KEY) for (const listener of listeners) listener();
});
