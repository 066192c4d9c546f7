// SPDX-License-Identifier: Apache-2.0
// What was done, with a way back, and questions.

import { $, el, write } from "./dom.js";
import { Problem } from "./api.js";

const STAYS = 12_000;
const MOST = 4;

export function notice(text, { detail, action, act, bad } = {}) {
  const element = el("div", `notice${bad ? " bad" : ""}`, el("p", "", text, detail ? el("small", "", detail) : null));
  const timer = setTimeout(() => element.remove(), STAYS);
  const close = () => { clearTimeout(timer); element.remove(); };
  if (action) element.append(el("button", { type: "button", className: "small", onclick: () => { close(); act(); } }, action));
  $("notices").append(element);
  while ($("notices").children.length > MOST) $("notices").firstElementChild.remove();
}

export function complain(error) {
  if (error.name === "AbortError" || (error instanceof Problem && error.status === 401)) return;
  notice(error instanceof Problem ? error.message : `The daemon does not answer (${error.message}).`, { bad: true });
}

// Answers whether the person said yes; with `input`, what they wrote.
export function ask(title, text, yes, input) {
  const dialog = $("question");
  write(dialog.querySelector("h2"), title);
  write(dialog.querySelector("p"), text);
  write(dialog.querySelector("[value=yes]"), yes);
  dialog.querySelector("input")?.remove();
  if (input) dialog.querySelector("p").after(input);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "yes" && (input ? input.value.trim() : true));
  });
}
