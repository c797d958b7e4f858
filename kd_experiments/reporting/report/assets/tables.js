// Tables of the report: sorted by a click or a key on a column's title, filtered together.
function sortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((title, place) => {
    title.setAttribute("aria-sort", "none");
    const button = make("button", { type: "button" }, ...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => {
      const order = turn(table, title);
      body.append(...(order ? original.slice().sort(by((line) => valueOf(line.cells[place]), order)) : original));
    });
  });
}

// A column goes through ascending, descending and the order it came in; returns 1, -1 or 0.
function turn(table, title) {
  const next = { none: "ascending", ascending: "descending", descending: "none" }[title.getAttribute("aria-sort")];
  for (const other of table.tHead.rows[0].cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  title.setAttribute("aria-sort", next);
  return { none: 0, ascending: 1, descending: -1 }[next];
}

function valueOf(cell) {
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = cell.textContent.trim();
  return text === NOTHING || text === "" ? null : text;
}

const collator = new Intl.Collator("en", { numeric: true });

// Numbers before words, and what is missing always last.
function by(value, order) {
  return (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
    return order * (typeof x === "number" ? x - y : collator.compare(x, y));
  };
}

function words(text) {
  return text.toLowerCase().split(/\s+/).filter(Boolean);
}

function startTables() {
  document.querySelectorAll("table.sortable").forEach(sortable);
  const input = document.getElementById("table-filter");
  if (!input) return;
  const results = [...document.querySelectorAll("details.result")];
  const initially = results.map((result) => result.open);
  const lines = results.map((result) => [...result.querySelector("tbody").rows]);
  input.addEventListener("input", () => {
    const wanted = words(input.value);
    let rowsLeft = 0, tablesLeft = 0;
    results.forEach((result, place) => {
      const title = result.dataset.title.toLowerCase();
      let left = 0;
      for (const line of lines[place]) {
        line.text ??= line.textContent.toLowerCase();
        line.hidden = !wanted.every((word) => line.text.includes(word) || title.includes(word));
        left += !line.hidden;
      }
      result.hidden = left === 0;
      result.open = wanted.length ? left > 0 : initially[place];
      rowsLeft += left;
      tablesLeft += left > 0;
    });
    document.getElementById("table-count").textContent =
      wanted.length ? `${rowsLeft} rows in ${tablesLeft} of ${results.length} tables` : "";
  });
  addEventListener("beforeprint", () => results.forEach((result) => { result.open = true; }));
}
