// The side panel: the log of the newest answer as it grows on the server, what of it this page has shown and read again,
// whether it is saved and counted, and what is owed.

import { pause } from "./reading.mjs";
import { element } from "./view.mjs";

const LOOK_MS = 400; // while something happens
const OWED_MS = 1000; // while something is owed
const MAX_ROWS = 400;
const MAX_SENTENCES = 12;

const KINDS = { "text-delta": "text", "data-streamguard-error": "fault", "data-streamguard-persisted": "saved" };

export class Panel {
  #root;
  #log;
  #happened;
  #onInside;
  #chat = null;
  #stream = null; // the id of the stream whose log is shown
  #after = ""; // the last event that was read of it, `<epoch>.<number>`
  #rows = new Map();
  #written = 0; // how many events the log had
  #shown = 0; // up to which event this page has shown the answer
  #resumed = null; // the id of a stream that was resumed
  #again = []; // which of its events were read out of the log again: pairs of numbers
  #follows = true; // whether its reader is at the end of the log
  #turn = 0;

  /** `onInside` is told each answer of the server. */
  constructor(root, onInside) {
    this.#root = root;
    this.#log = root.querySelector("#events");
    this.#happened = root.querySelector("#happened");
    this.#onInside = onInside;
    this.#log.addEventListener("scroll", () => {
      this.#follows = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 40;
    });
  }

  /** Shows another chat. */
  watch(chat) {
    this.#chat = chat;
    this.#happened.replaceChildren();
    this.#begin(null);
    this.look();
  }

  /** A sentence about what happened. */
  tell(sentence) {
    this.#happened.prepend(element("li", "", sentence));
    while (this.#happened.childElementCount > MAX_SENTENCES) this.#happened.lastElementChild.remove();
  }

  /** The page has shown an answer up to this event: nothing with 0, all of it with Infinity. */
  shows(number) {
    const before = this.#shown;
    this.#shown = number;
    this.#count();
    if (number === 0) return; // the log on show is the last answer's yet
    for (const [of, row] of this.#rows) if (of > Math.min(before, number)) this.#mark(of, row);
  }

  /** The events of a stream from one to another came out of the log, since nobody here read when they were written. */
  readAgain(stream, first, last) {
    if (last < first) return;
    if (stream !== this.#resumed) this.#again = [];
    this.#resumed = stream;
    this.#again.push([first, last]);
    for (const [number, row] of this.#rows) this.#mark(number, row);
    this.#count();
  }

  /** Looks at the server now, and goes on as long as something happens there. */
  async look() {
    const mine = ++this.#turn;
    while (this.#root.checkVisibility()) {
      const inside = await this.#ask();
      if (mine !== this.#turn) return;
      let wait = OWED_MS;
      if (inside) {
        this.#show(inside);
        this.#onInside(inside);
        const isOpen = inside.stream !== null && inside.stream.state !== "closed";
        if (isOpen || inside.events.length > 0) wait = LOOK_MS;
        else if (inside.owed.length === 0) return;
      }
      await pause(wait);
      if (mine !== this.#turn) return;
    }
  }

  async #ask() {
    const query = new URLSearchParams({ session: this.#chat });
    if (this.#stream) query.set("stream", this.#stream);
    if (this.#after) query.set("after", this.#after);
    const response = await fetch(`/demo/inside?${query}`).catch(() => null);
    return response?.ok ? response.json().catch(() => null) : null; // its worker may be killed in the middle of it
  }

  #clear() {
    this.#after = "";
    this.#rows.clear();
    this.#log.replaceChildren();
  }

  #begin(stream) {
    this.#clear();
    this.#stream = stream;
    if (stream === null) this.#shown = 0;
  }

  #show({ stream, events, owed, database }) {
    if ((stream?.id ?? null) !== this.#stream) this.#begin(stream?.id ?? null);
    if (events.length > 0 && this.#rows.has(events[0].number)) this.#clear(); // it was read from its start
    for (const event of events) this.#add(event);
    if (this.#follows) this.#log.scrollTop = this.#log.scrollHeight;
    this.#written = stream?.events ?? 0;
    this.#put("#writer", writerOf(stream));
    this.#put("#saved", savedSentence(stream, database));
    this.#put("#counted", countedSentence(stream));
    this.#root.querySelector("#owed").replaceChildren(...owedItems(owed, this.#chat));
    this.#count();
  }

  #add({ number, epoch, kind, text }) {
    this.#after = `${epoch}.${number}`;
    const row = element("li", "event");
    row.append(element("span", "number", number), element("span", "kind", KINDS[kind] ?? kind), element("span", "said", text.replace(/^ /, "").replaceAll("\n", "↵")));
    this.#rows.set(number, row);
    this.#mark(number, row);
    this.#log.append(row);
    if (this.#rows.size > MAX_ROWS) {
      const [oldest, first] = this.#rows.entries().next().value;
      first.remove();
      this.#rows.delete(oldest);
    }
  }

  #mark(number, row) {
    const isAgain = this.#resumed === this.#stream && this.#again.some(([first, last]) => first <= number && number <= last);
    row.dataset.state = number > this.#shown ? "waiting" : isAgain ? "again" : "live";
  }

  #count() {
    const all = this.#shown === Number.POSITIVE_INFINITY;
    const written = all ? this.#written : Math.max(this.#written, this.#shown); // the page may be ahead of the panel
    this.#put("#written", written === 0 ? "nothing yet" : eventsOf(written));
    this.#put("#reached", all ? "all of it" : this.#shown === 0 ? "nothing yet" : `up to event ${this.#shown}`);
    const again = this.#resumed === this.#stream ? this.#again : [];
    const places = again.map(([first, last]) => `${first === 1 ? "from the start" : `after event ${first - 1}`} (${first}–${last})`);
    this.#put("#again", places.join(", ") || "not yet");
  }

  #put(selector, text) {
    const node = this.#root.querySelector(selector);
    if (node.textContent !== text) node.textContent = text;
  }
}

function writerOf(stream) {
  if (!stream?.worker) return "nobody";
  const worker = `worker ${stream.worker}`;
  if (stream.taken) return `${worker}, which took it over`;
  return stream.state === "closed" ? `${worker}, done` : worker;
}

const eventsOf = (number) => (number === 1 ? "1 event" : `${number} events`);

function savedSentence(stream, database) {
  const away = database === "away" ? " The database is away." : "";
  if (stream === null) return `Nothing has been asked yet.${away}`;
  if (stream.state !== "closed" && stream.persisted !== "yes") return `The answer is saved when it ends.${away}`;
  const saved = {
    yes: "Question and answer are in the database.",
    pending: "Not in the database yet: the save is owed.",
    no: "Not in the database, and not tried any more.",
    not_asked: "There was nothing to save.",
  };
  return (saved[stream.persisted] ?? "") + away;
}

function countedSentence(stream) {
  if (stream === null) return "";
  if (stream.state !== "closed") return "Tokens are reserved for it.";
  return { settled: "Its tokens are counted.", pending: "Its tokens are still to be counted." }[stream.quota] ?? "";
}

function owedItems(owed, chat) {
  if (owed.length === 0) return [element("li", "none", "Nothing.")];
  return owed.map(({ session, what, attempts, again_seconds: again }) => {
    const duty = what.map((one) => (one === "save" ? "a save" : "the counting of tokens")).join(" and ") || "work";
    const whose = session === chat ? "of this chat" : "of another chat";
    const tried = attempts === 0 ? "not tried again yet" : attempts === 1 ? "tried again once" : `tried again ${attempts} times`;
    const next = again === null ? "given up" : again === 0 ? "due now" : `next in ${Math.ceil(again)} s`;
    return element("li", "owed", `${duty} ${whose}: ${tried}, ${next}`);
  });
}
