// The list of chats that this browser has. What was said in them is on the server.

import { forgetQuestion } from "./history.mjs";
import { button, element } from "./view.mjs";

const KEY = "streamguard.chats";
const CURRENT = "streamguard.current";
const MAX_CHATS = 50;
const MAX_TITLE = 60;

/** The chats, the newest first: `{id, title}`. */
function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

function keep(chats) {
  for (const { id } of chats.slice(MAX_CHATS)) forgetQuestion(id);
  store(KEY, JSON.stringify(chats.slice(0, MAX_CHATS)));
}

/** Where a browser keeps no more, a chat is not in its list, and can be used as ever. */
function store(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    console.warn(`This browser's storage is full: ${key} stays as it was.`);
  }
}

/** Which chat was open last, in this browser. */
export function lastOpened() {
  return localStorage.getItem(CURRENT);
}

/** Shows the list in `node`, and keeps it. `open(id)` and `remove(id)` are what its buttons do. */
export class ChatList {
  #node;
  #open;
  #remove;
  #current = null;
  #writing = new Set(); // chats that were left while their answer was being written

  constructor(node, { open, remove }) {
    this.#node = node;
    this.#open = open;
    this.#remove = remove;
    addEventListener("storage", ({ key }) => key === KEY && this.#show());
  }

  /** The chat on show. */
  select(id) {
    this.#current = id;
    store(CURRENT, id);
    this.#show();
  }

  /** A chat has its first question, or was found on the server. It stays where it is in the list, if it is there. */
  add(id, text) {
    const chats = kept();
    if (chats.some((chat) => chat.id === id)) return;
    const title = text.trim().replace(/\s+/g, " ");
    keep([{ id, title: title.length > MAX_TITLE ? `${title.slice(0, MAX_TITLE - 1)}…` : title }, ...chats]);
    this.#show();
  }

  delete(id) {
    keep(kept().filter((chat) => chat.id !== id));
    this.#writing.delete(id);
    this.#show();
  }

  /** Whether a chat's answer is being written, while another one is on show. */
  mark(id, isWriting) {
    if (this.#writing.has(id) === isWriting) return;
    if (isWriting) this.#writing.add(id);
    else this.#writing.delete(id);
    this.#show();
  }

  #show() {
    const focused = this.#node.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const chats = kept();
    this.#node.replaceChildren(...chats.map((chat) => this.#item(chat)));
    if (chats.length === 0) this.#node.append(element("li", "none", "No chats yet. Ask something."));
    if (focused) this.#node.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  #item({ id, title }) {
    const item = element("li", "chat");
    item.dataset.chat = id;
    const open = button(title, () => this.#open(id));
    open.dataset.key = `open-${id}`;
    open.dir = "auto";
    if (id === this.#current) open.setAttribute("aria-current", "true");
    if (this.#writing.has(id)) open.append(element("span", "writing", "writing …"));
    const remove = button("Delete", () => this.#confirm(item, id, title));
    remove.dataset.key = `delete-${id}`;
    remove.setAttribute("aria-label", `Delete the chat “${title}”`);
    item.append(open, remove);
    return item;
  }

  /** Deleting cannot be undone: it is asked for twice. */
  #confirm(item, id, title) {
    const yes = button("Delete for good", () => this.#remove(id));
    const no = button("Keep", () => this.#show());
    yes.setAttribute("aria-label", `Delete the chat “${title}” for good`);
    item.replaceChildren(yes, no);
    no.focus();
  }
}
