// Rows out of templates: always by text, never by markup, so that whatever a task is called stays what it is called.

export function rowOf(template, fields) {
  const row = document.getElementById(template).content.firstElementChild.cloneNode(true);
  fill(row, fields);
  return row;
}

export function fill(row, fields) {
  for (const [name, text] of Object.entries(fields)) {
    const cell = row.querySelector(`[data-f="${name}"]`);
    if (cell && cell.textContent !== text) cell.textContent = text;
  }
}

// Keep one row per key, in the order given; rows that stay keep their place in the page, and so the focus.
export function sync(body, items, key, template, update) {
  const rows = new Map([...body.children].map((row) => [row.dataset.key, row]));
  let before = body.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let row = rows.get(name);
    if (!row) {
      row = rowOf(template, {});
      row.dataset.key = name;
    }
    rows.delete(name);
    if (row !== before) body.insertBefore(row, before);
    before = row.nextElementSibling;
    update(row, item);
  }
  for (const row of rows.values()) row.remove();
}

export function element(name, attributes = {}, text = null) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  if (text !== null) made.textContent = text;
  return made;
}

export function meter(row, value) {
  row.querySelector("[data-fill]").setAttribute("width", String(Math.max(0, Math.min(value || 0, 1)) * 100));
}
