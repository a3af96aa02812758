// The heights of many rows, and where each begins: a Fenwick tree. Growing, changing one and finding one are cheap. Pure.

export class Heights {
  #each = [];
  #tree = [0]; // tree[i]: the sum of the rows from i - lowest bit of i to i - 1

  get length() {
    return this.#each.length;
  }

  get total() {
    return this.before(this.length);
  }

  push(height) {
    this.#each.push(height);
    const at = this.#each.length;
    let sum = height;
    for (let child = at - 1; child > at - (at & -at); child -= child & -child) sum += this.#tree[child];
    this.#tree.push(sum);
  }

  /** The height of a row. */
  of(row) {
    return this.#each[row];
  }

  set(row, height) {
    const change = height - this.#each[row];
    this.#each[row] = height;
    for (let at = row + 1; at <= this.length; at += at & -at) this.#tree[at] += change;
  }

  /** Where a row begins: the heights of those before it. */
  before(row) {
    let sum = 0;
    for (let at = row; at > 0; at -= at & -at) sum += this.#tree[at];
    return sum;
  }

  /** The row at a place; the first or the last one for what is outside. */
  at(place) {
    let row = 0;
    let left = place;
    for (let step = 1 << 30; step; step >>= 1) {
      if (row + step <= this.length && this.#tree[row + step] <= left) {
        row += step;
        left -= this.#tree[row];
      }
    }
    return Math.max(0, Math.min(row, this.length - 1));
  }
}
