// The last minutes, or hours: a list of numbers for each column.

export class History {
  #columns = [];
  #kept = 0;
  #lists = new Map();

  /** Begins anew with what the stream told at its beginning. */
  reset({ columns, kept, rows }) {
    this.#columns = columns;
    this.#kept = kept;
    this.#lists = new Map(columns.map((name, at) => [name, rows.map((row) => row[at])]));
  }

  push(row) {
    this.#columns.forEach((name, at) => {
      const list = this.#lists.get(name);
      list.push(row[at]);
      if (list.length > this.#kept) list.shift();
    });
  }

  /** All numbers of a column, oldest first. */
  of(name) {
    return this.#lists.get(name) ?? [];
  }

  last(name) {
    return this.of(name).at(-1);
  }
}
