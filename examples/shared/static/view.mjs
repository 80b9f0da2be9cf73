// Pieces of the page. Text reaches it as text, never as HTML.

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

/** A new message's place at the end of `log`, with the means to change it while it grows. */
export function messageView(log, role) {
  const item = element("li", "message");
  item.dataset.role = role;
  const text = element("div", "text");
  const note = element("p", "note");
  note.hidden = true;
  item.append(element("span", "visually-hidden", role === "user" ? "You" : "Answer"), text, note);
  log.append(item);
  return {
    item,
    text(value) {
      // Only what was added is written: a long answer stays cheap.
      const shown = text.firstChild?.data ?? "";
      if (shown !== "" && value.startsWith(shown)) text.firstChild.appendData(value.slice(shown.length));
      else text.textContent = value;
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
