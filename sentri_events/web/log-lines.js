// Which lines of a log are shown, and which of them hold what is searched for. Pure.
//
// Made anew when the question changes; as the log grows it is only extended.

import { plain } from "./ansi.js";

const RANKS = { trace: 0, debug: 0, warn: 2, warning: 2, error: 3, fatal: 3, critical: 3 };
const KINDS = ["debug", "info", "warn", "error"];

/** debug, info, warn or error: what is neither of the others is info. */
export const kind = (level) => KINDS[rank(level)];

const rank = (level) => RANKS[String(level).toLowerCase()] ?? 1;

export class LogLines {
  shown = []; // of each line that is shown: where it stands among all
  matches = []; // of each that holds what is searched for: where it stands among those shown
  #least;
  #find;
  #read = 0;

  /** `level`: the lowest kind that is shown; `find`: searched for in any case, or "". */
  constructor(level, find) {
    this.#least = Math.max(0, KINDS.indexOf(level));
    this.#find = find.toLowerCase();
  }

  /** Take in the lines that are new since the last time. */
  extend(lines) {
    for (; this.#read < lines.length; this.#read += 1) {
      const { level, text } = lines[this.#read];
      if (rank(level) < this.#least) continue;
      if (this.#find && plain(text).toLowerCase().includes(this.#find)) this.matches.push(this.shown.length);
      this.shown.push(this.#read);
    }
    return this;
  }
}

/** Of numbers in rising order: how many are less than `value`. */
export function countBelow(numbers, value) {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The lines of the same message above line `index`: colours go on from them. */
export function above(lines, index) {
  let first = index;
  while (first > 0 && lines[first - 1].seq === lines[index].seq) first -= 1;
  return first === index ? [] : lines.slice(first, index).map((line) => line.text);
}
