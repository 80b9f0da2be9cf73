// Markdown as DOM nodes: paragraphs, headings, lists, quotes, tables, code, emphasis and links. What a model writes becomes text
// in elements that are made here; nothing of it is read as HTML, and a link leads only to where a link may lead.

const SAFE_SCHEMES = new Set(["http:", "https:", "mailto:"]);
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+-]*)/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*)$/s;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])\s+(.*)$/s;
const QUOTE = /^ {0,3}> ?(.*)$/s;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const MAX_DEPTH = 6;

/**
 * The blocks of a text, `{source, node()}`. A block whose `source` is the same as before need not be made again, so that a
 * long answer stays cheap while it grows. The last one may be unfinished.
 */
export function blocksOf(text) {
  return blocksOfLines(text.replaceAll("\r\n", "\n").split("\n"), 0);
}

function blocksOfLines(lines, depth) {
  const blocks = [];
  for (let at = 0; at < lines.length; ) {
    const from = at;
    const line = lines[at];
    const fence = FENCE.exec(line);
    let make;
    if (line.trim() === "") {
      at += 1;
      continue;
    } else if (fence) {
      const isEnd = (other) => other.trim().startsWith(fence[1]) && other.trim().replaceAll(fence[1][0], "") === "";
      for (at += 1; at < lines.length && !isEnd(lines[at]); ) at += 1;
      const code = lines.slice(from + 1, at).join("\n");
      make = () => element("pre", [element("code", [code])]);
      at += 1;
    } else if (HEADING.test(line)) {
      const [, marks, title] = HEADING.exec(line);
      make = () => element(`h${Math.max(3, marks.length)}`, inline(withoutMarks(title))); // the page has its own first two
      at += 1;
    } else if (RULE.test(line)) {
      make = () => document.createElement("hr");
      at += 1;
    } else if (QUOTE.test(line) && depth < MAX_DEPTH) {
      for (; at < lines.length && QUOTE.test(lines[at]); ) at += 1;
      const quoted = lines.slice(from, at).map((one) => QUOTE.exec(one)[1]);
      make = () => element("blockquote", nodesOf(quoted, depth + 1));
    } else if (ITEM.test(line) && depth < MAX_DEPTH) {
      const list = listAt(lines, at, depth);
      make = list.make;
      at = list.end;
    } else if (startsTable(lines, at)) {
      for (at += 2; at < lines.length && !startsBlock(lines[at]); ) at += 1;
      const rows = lines.slice(from, at);
      make = () => table(rows.map(cellsOf));
    } else {
      for (at += 1; at < lines.length && !startsBlock(lines[at]) && !startsTable(lines, at); ) at += 1;
      const paragraph = lines.slice(from, at).join("\n");
      make = () => element("p", inline(paragraph));
    }
    blocks.push({ source: lines.slice(from, at).join("\n"), node: make });
  }
  return blocks;
}

/** A heading's text without the marks that may stand behind it. */
function withoutMarks(title) {
  let end = title.trimEnd().length;
  while (title[end - 1] === "#") end -= 1;
  return title.slice(0, end).trimEnd();
}

function startsBlock(line) {
  return line.trim() === "" || [FENCE, HEADING, ITEM, QUOTE, RULE].some((pattern) => pattern.test(line));
}

/** Whether a line names the columns of a table: below it is a line of dashes with as many cells. */
function startsTable(lines, at) {
  if (!lines[at].includes("|") || !/^[\s|:-]+$/.test(lines[at + 1] ?? "")) return false;
  const marks = cellsOf(lines[at + 1]);
  return marks.length === cellsOf(lines[at]).length && marks.every((mark) => /^:?-+:?$/.test(mark));
}

/** The cells of a table's line, without the bars around them. `\|` is a bar within a cell. */
function cellsOf(line) {
  const cells = line.trim().replaceAll("\\|", "\0").split("|");
  const texts = cells.map((text) => text.trim().replaceAll("\0", "|"));
  if (texts[0] === "") texts.shift();
  if (texts.at(-1) === "") texts.pop();
  return texts;
}

/** A table of a line of titles, a line that says how each column is aligned, and the rows. It may be scrolled sideways. */
function table([titles, marks, ...rows]) {
  const row = (name, cells) => element("tr", titles.map((_, column) => cell(name, cells[column] ?? "", marks[column])));
  const head = element("thead", [row("th", titles)]);
  const place = element("div", [element("table", [head, element("tbody", rows.map((cells) => row("td", cells)))])]);
  place.className = "table";
  place.tabIndex = 0;
  place.setAttribute("role", "region");
  place.setAttribute("aria-label", "Table");
  return place;
}

function cell(name, text, mark) {
  const node = element(name, inline(text));
  if (mark.endsWith(":")) node.dataset.align = mark.startsWith(":") ? "center" : "end";
  return node;
}

/** The list that begins with a line: its items, and where it ends. What is indented under an item belongs to it. */
function listAt(lines, start, depth) {
  const [, indent, marker] = ITEM.exec(lines[start]);
  const isOrdered = /\d/.test(marker);
  const items = [];
  let at = start;
  while (at < lines.length) {
    const item = ITEM.exec(lines[at]);
    if (item && item[1].length <= indent.length + 1) {
      if (/\d/.test(item[2]) !== isOrdered) break;
      items.push([item[3]]);
    } else if (/^\s+\S/.test(lines[at])) {
      items.at(-1).push(lines[at].replace(/^ {1,4}/, ""));
    } else if (lines[at].trim() !== "" || !/^\s+\S/.test(lines[at + 1] ?? "")) break;
    else items.at(-1).push("");
    at += 1;
  }
  const make = () => {
    const list = element(isOrdered ? "ol" : "ul", items.map((own) => element("li", contentOf(own, depth + 1))));
    if (isOrdered) list.start = Number.parseInt(marker, 10);
    return list;
  };
  return { end: at, make };
}

/** An item's content: its first line as it is, and blocks below that. */
function contentOf([first, ...rest], depth) {
  return [...inline(first), ...nodesOf(rest, depth)];
}

function nodesOf(lines, depth) {
  return blocksOfLines(lines, depth).map(({ node }) => node());
}

/** Nodes of a line's text: code, bold, italic, links, and the rest as it is. */
export function inline(text, depth = 0) {
  const nodes = [];
  const missing = new Set(); // closing marks that do not come any more: each is looked for once
  let plain = "";
  const push = (node) => {
    if (plain !== "") nodes.push(document.createTextNode(plain));
    plain = "";
    nodes.push(node);
  };
  for (let at = 0; at < text.length; ) {
    const found = depth < MAX_DEPTH ? spanAt(text, at, missing, depth) : null;
    if (found === null) {
      plain += text[at];
      at += 1;
    } else {
      if (typeof found.node === "string") plain += found.node;
      else push(found.node);
      at = found.end;
    }
  }
  if (plain !== "") nodes.push(document.createTextNode(plain));
  return nodes;
}

/** What begins at a place, if anything but text does. */
function spanAt(text, at, missing, depth) {
  const character = text[at];
  if (character === "\\" && /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "")) return { node: text[at + 1], end: at + 2 };
  if (character === "`") {
    const marks = /^`+/.exec(text.slice(at, at + 8))[0];
    const end = closing(text, at + marks.length, marks, missing);
    if (end < 0) return { node: marks, end: at + marks.length };
    const code = text.slice(at + marks.length, end);
    const isPadded = code.startsWith(" ") && code.endsWith(" ") && code.trim() !== "";
    return { node: element("code", [isPadded ? code.slice(1, -1) : code]), end: end + marks.length };
  }
  if (character === "[") {
    const link = /^\[([^[\]\n]{1,500})\]\(([^\s()<>]{1,2000})\)/.exec(text.slice(at, at + 2600));
    if (link === null) return null;
    const label = inline(link[1], depth + 1);
    return { node: linkTo(link[2], label) ?? element("span", label), end: at + link[0].length };
  }
  if (character !== "*" && character !== "_") return null;
  const mark = text[at + 1] === character ? character.repeat(2) : character;
  const first = text[at + mark.length] ?? " ";
  if (/\s/.test(first) || (character === "_" && /\w/.test(text[at - 1] ?? ""))) return null;
  let end = closing(text, at + mark.length + 1, mark, missing);
  // A mark ends nothing after a space, nor does `_` within a word, or half of a double mark.
  while (end >= 0 && !mayClose(text, end, mark)) end = closing(text, end + mark.length, mark, missing);
  if (end < 0) return null;
  const content = inline(text.slice(at + mark.length, end), depth + 1);
  return { node: element(mark.length === 2 ? "strong" : "em", content), end: end + mark.length };
}

function mayClose(text, end, mark) {
  const before = text[end - 1];
  const after = text[end + mark.length] ?? " ";
  if (/\s/.test(before)) return false;
  if (mark.length === 1 && (before === mark || after === mark)) return false;
  return mark[0] !== "_" || !/\w/.test(after);
}

function closing(text, from, mark, missing) {
  if (missing.has(mark)) return -1;
  const end = text.indexOf(mark, from);
  if (end < 0) missing.add(mark);
  return end;
}

/** A link, or null if its address is none that a page may lead to. */
function linkTo(address, label) {
  let url;
  try {
    url = new URL(address, document.baseURI);
  } catch {
    return null;
  }
  if (!SAFE_SCHEMES.has(url.protocol)) return null;
  const link = element("a", label);
  link.href = url.href;
  link.rel = "noopener noreferrer nofollow";
  link.target = "_blank";
  return link;
}

function element(name, children) {
  const node = document.createElement(name);
  node.append(...children);
  return node;
}
