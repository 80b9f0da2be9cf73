// Pieces of the page. Text reaches it as text, never as HTML.

import { blocksOf } from "./markdown.mjs";

const LABELS = {
  completed: "",
  stopped: "Stopped by you",
  interrupted: "Interrupted",
  failed: "Failed",
  lost: "Connection lost",
};

export function element(name, className, text = "") {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = text;
  return node;
}

/** `about` tells buttons that only make sense while theirs is the last question: `question`. */
export function button(label, onClick, about = "") {
  const node = element("button", "quiet", label);
  node.type = "button";
  node.dataset.about = about;
  node.addEventListener("click", () => onClick());
  return node;
}

/** A new message's place at the end of `log`, with the means to change it while it grows. `item.source` is its text. */
export function messageView(log, role) {
  const item = element("li", "message");
  item.dataset.role = role;
  item.source = "";
  const text = element("div", "text");
  text.dir = "auto";
  const note = element("p", "note");
  note.hidden = true;
  item.append(element("span", "visually-hidden", role === "user" ? "You said: " : "The answer: "), text, note);
  log.append(item);
  let shown = [];
  return {
    item,
    text(value) {
      item.source = value;
      if (role === "user") text.textContent = value;
      else shown = paint(text, shown, blocksOf(value));
    },
    state(name, details = [], ...actions) {
      item.dataset.state = name;
      const label = [LABELS[name], ...details].filter(Boolean).join(" – ");
      note.textContent = label;
      note.append(...actions);
      note.hidden = label === "" && actions.length === 0;
    },
  };
}

/** Shows the blocks of a text that has grown: those that are as before stay, so that a selection in them does too. */
function paint(place, before, blocks) {
  let same = 0;
  while (same < before.length && before[same].source === blocks[same]?.source) same += 1;
  while (place.childNodes.length > same) place.lastChild.remove();
  place.append(...blocks.slice(same).map(({ node }) => inItsDirection(node())));
  return blocks;
}

/** A block from right to left if its first letter is of such a script, and code always from left to right. */
function inItsDirection(node) {
  node.dir = node.localName === "pre" ? "ltr" : "auto";
  return node;
}
