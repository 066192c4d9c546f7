// SPDX-License-Identifier: Apache-2.0
// Making and renewing elements. Text goes in as text: nothing that comes from the network is ever read as HTML.

export const $ = (id) => document.getElementById(id);

// el("td", "number", "12 k"), or with properties: el("button", { className: "small", onclick }, "Block")
export function el(tag, properties, ...children) {
  const element = document.createElement(tag);
  const given = typeof properties === "string" ? { className: properties } : properties || {};
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("aria-") || name === "role" || name === "colspan") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

// Only if it is another text: what does not change is not painted again.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, visible) {
  element.hidden = !visible;
}

// Rows of a table, one for each item, kept from one time to the next: a button that is about to be pressed stays under
// the finger. `make` gives a row's element with a `renew(item)`.
export class Rows {
  constructor(body, key, make) {
    this.body = body;
    this.key = key;
    this.make = make;
    this.rows = new Map();
  }

  renew(items) {
    const kept = new Map();
    let place = this.body.firstElementChild;
    for (const item of items) {
      const key = this.key(item);
      const row = this.rows.get(key) || this.make(item);
      row.renew(item);
      kept.set(key, row);
      if (row === place) place = place.nextElementSibling;
      else this.body.insertBefore(row, place);
    }
    for (const [key, row] of this.rows) if (kept.get(key) !== row) row.remove();
    this.rows = kept;
  }
}

// Tabs that are kept likewise. `items`: [{ key, label, note, warned }]
export function tabs(element, items, chosen, choose) {
  const names = items.map((item) => item.key).join("\n");
  if (element.dataset.names !== names) {
    element.dataset.names = names;
    fill(element, ...items.map(({ key }) => el("button", { type: "button", role: "tab", value: key }, "", el("span"))));
  }
  for (const [at, { key, label, note, warned }] of items.entries()) {
    const button = element.children[at];
    button.onclick = () => choose(key);
    button.setAttribute("aria-selected", key === chosen);
    button.classList.toggle("warned", Boolean(warned));
    button.title = warned || "";
    if (button.firstChild.data !== label) button.firstChild.data = label;
    write(button.lastElementChild, note || "");
  }
}

export function chip(text, kind) {
  return el("span", `chip ${kind || text}`, text);
}

// A name, a bar of parts ({ share: 0…1, kind }), and a value.
export function bar(name, parts, value) {
  const track = el("div", "track", ...parts.filter(({ share }) => share > 0).map(({ share, kind }) => {
    const part = el("i", kind || "");
    part.style.width = `${Math.min(100, share * 100)}%`;
    return part;
  }));
  return el("div", "", el("span", { className: "name", title: name }, name), track, el("span", "value", value));
}
