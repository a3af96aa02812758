// Text with ANSI colours as pieces, each with its style. Pure. What is no colour (cursor, titles, links) is left out.
//
// A terminal's colours were chosen for a black window. Here each is moved towards black or white until it can be read on
// the page's cards (WCAG AA), of the light and of the dark theme; on a background of its own, until it can be read there.

const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/;
const SEQUENCE =
  /\x1b\[([\d;:]*)m|\x1b\[[0-?]*[ -/]*[@-~]?|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f]/g;
const LIGHT_CARD = [255, 255, 255]; // --card in style.css
const DARK_CARD = [23, 28, 36];
const CONTRAST = 5; // AA takes 4.5: the rest is for tinted lines
const FIRST_16 = [
  [0, 0, 0], [205, 49, 49], [13, 148, 88], [196, 160, 0], [52, 101, 200], [170, 60, 170], [17, 150, 190], [190, 190, 190],
  [110, 110, 110], [241, 76, 76], [35, 190, 120], [230, 200, 40], [80, 140, 240], [214, 112, 214], [41, 184, 219], [240, 240, 240],
];
const PLAIN = { fg: null, bg: null, bold: false, dim: false, italic: false, underline: false, strike: false, inverse: false };
const SWITCHES = {
  1: { bold: true },
  2: { dim: true },
  3: { italic: true },
  4: { underline: true },
  7: { inverse: true },
  9: { strike: true },
  21: { underline: true },
  22: { bold: false, dim: false },
  23: { italic: false },
  24: { underline: false },
  27: { inverse: false },
  29: { strike: false },
  39: { fg: null },
  49: { bg: null },
};
const styles = new Map(); // "fg|bg" -> the style: there are few, and many pieces

/** The text as it can be read and searched: no colours, no control characters, after the last carriage return. */
export function plain(text) {
  if (!CONTROL.test(text)) return text;
  return pieces(text).map((piece) => piece.text).join("");
}

/** [{text, className, style}] of one line. `before`: the lines of the same message above it, whose colours go on. */
export function pieces(text, before = []) {
  let state = PLAIN;
  for (const line of before) if (line.includes("\x1b[")) state = read(line, state, () => {}, () => {});
  const found = [];
  const add = (part, now) => found.push({ text: part, ...looks(now) });
  read(text, state, add, () => (found.length = 0));
  return found;
}

/** Calls `add(text, state)` for each piece and `back()` for each carriage return; gives the state at the end. */
function read(text, state, add, back) {
  let from = 0;
  for (const found of text.matchAll(SEQUENCE)) {
    if (found.index > from) add(text.slice(from, found.index), state);
    from = found.index + found[0].length;
    if (found[1] !== undefined) state = changed(state, found[1]);
    else if (found[0] === "\r" && from < text.length) back();
  }
  if (from < text.length) add(text.slice(from), state);
  return state;
}

/** The state after `ESC [ codes m`. */
function changed(state, codes) {
  const list = codes.split(";");
  let now = state;
  for (let index = 0; index < list.length; index += 1) {
    const parts = list[index].split(":");
    const code = Number(parts[0]);
    if (code === 0) now = PLAIN;
    else if (code in SWITCHES) now = { ...now, ...SWITCHES[code] };
    else if (code >= 30 && code <= 37) now = { ...now, fg: code - 30 };
    else if (code >= 90 && code <= 97) now = { ...now, fg: code - 82 };
    else if (code >= 40 && code <= 47) now = { ...now, bg: code - 40 };
    else if (code >= 100 && code <= 107) now = { ...now, bg: code - 92 };
    else if (code === 38 || code === 48) {
      const [colour, used] = parts.length > 1 ? [extended(parts[1], parts.slice(2).slice(-3)), 0] : given(list, index);
      index += used;
      if (colour !== null) now = { ...now, [code === 38 ? "fg" : "bg"]: colour };
    }
  }
  return now;
}

/** The colour of `38;5;n` or `38;2;r;g;b` at an index of the list, and how many numbers more it took. */
function given(list, index) {
  const used = { 5: 2, 2: 4 }[list[index + 1]] ?? 1;
  return [extended(list[index + 1], list.slice(index + 2, index + 1 + used)), used];
}

function extended(kind, numbers) {
  const values = numbers.map((number) => Math.min(255, Number(number) || 0));
  if (kind === "5" && values.length) return values.at(-1);
  return kind === "2" && values.length === 3 ? values : null;
}

function looks({ fg, bg, bold, dim, italic, underline, strike, inverse }) {
  const names = [];
  if (bold) names.push("bold");
  if (italic) names.push("italic");
  if (underline) names.push("underline");
  if (strike) names.push("strike");
  if (inverse) [fg, bg] = [bg, fg];
  if (fg === null && bg === null) {
    if (inverse) names.push("inverse");
    else if (dim) names.push("dim");
    return { className: names.join(" "), style: undefined };
  }
  const key = `${fg}|${bg}`;
  if (!styles.has(key)) styles.set(key, colours(rgb(fg), rgb(bg)));
  return { className: names.join(" "), style: styles.get(key) };
}

function colours(fg, bg) {
  if (!bg) return { color: `light-dark(${css(readable(fg, LIGHT_CARD))}, ${css(readable(fg, DARK_CARD))})` };
  const text = fg ?? (luminance(bg) > 0.18 ? [0, 0, 0] : [255, 255, 255]);
  return { color: css(readable(text, bg)), backgroundColor: css(bg) };
}

function rgb(colour) {
  if (colour === null || Array.isArray(colour)) return colour;
  if (colour < 16) return FIRST_16[colour];
  if (colour >= 232) return Array(3).fill(8 + 10 * (colour - 232));
  const level = (step) => (step ? 55 + 40 * step : 0);
  const cube = colour - 16;
  return [level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)];
}

/** `colour`, moved towards black or white as far as it takes to be read on `ground`. */
export function readable(colour, ground) {
  const end = luminance(ground) > 0.18 ? 0 : 255;
  let now = colour;
  for (let step = 1; contrast(now, ground) < CONTRAST && step <= 20; step += 1) {
    now = colour.map((value) => Math.round(value + ((end - value) * step) / 20));
  }
  return now;
}

function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

/** WCAG's relative luminance. */
function luminance(colour) {
  const [red, green, blue] = colour.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

const css = (colour) => `rgb(${colour.join(" ")})`;
