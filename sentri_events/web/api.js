// Asks the server, which is found by where this file came from. Every refusal is a `Refused` with the server's sentence.

export const root = new URL("../../", import.meta.url);

/** The server said no (`status`), or could not be reached (`status` 0). `wait` is its Retry-After in seconds, or null. */
export class Refused extends Error {
  constructor(sentence, status, wait = null) {
    super(sentence);
    this.status = status;
    this.wait = wait;
  }
}

/** The absolute URL of a path below /api/v1, with the parameters that are not null; an array is one for each. */
export function url(path, parameters = {}) {
  const made = new URL(`api/v1/${path}`, root);
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) made.searchParams.append(name, one);
  }
  return made.href;
}

/** The decoded JSON of an answer; null where it has no body. `token` is sent as a Bearer; a cookie goes by itself. */
export async function ask(path, { parameters = {}, token = null, body, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url(path, parameters), {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server cannot be reached.", 0);
  }
  const text = await response.text().catch(() => "");
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    throw new Refused("Something between here and the server answered in its place.", response.ok ? 502 : response.status);
  }
  if (response.ok) return value;
  const wait = Number(response.headers.get("Retry-After"));
  throw new Refused(value?.error ?? `The server answered ${response.status}.`, response.status, wait > 0 ? wait : null);
}

/** A run's id in a path. */
export const runPath = (id) => `runs/${encodeURIComponent(id)}`;
