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
  tellAll();
}

/** Call `listener` when it is worth another try: there is another token, or perhaps a cookie. Returns what ends that. */
export function onToken(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const tellAll = () => listeners.forEach((listener) => listener());

addEventListener("storage", (event) => event.key === KEY && tellAll());
addEventListener("focus", tellAll); // somebody comes back, maybe from where cookies are set
