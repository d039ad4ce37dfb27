"use strict";
// The page reads its data from script elements of this document, compressed as zlib in base64: `index` holds
// the columns of all rows, `block-0`, `block-1` and so on the payloads of 256 rows each, one a line.

const $ = (id) => document.getElementById(id);
const LINE = 24;            // pixels of a line of the list
const LANE = 22;            // pixels of a lane
const AXIS = 22;            // pixels above the lanes
const [TURNS, USER, MODEL, ERRORS, REST] = [0, 1, 2, 5, 6];
const [ALONE, TEXT, THINKING, QUIET] = [0, 1, 2, 3];
const [PROBLEM, WAITS] = [1, 2];
const MOST_PRINTED = 2000;  // lines
const MOST_SHOWN = 300000;  // characters of one payload
const MOST_COLOURED = 60000;

// --- the data

async function inflate(id) {
  const packed = atob($(id).textContent);
  const bytes = new Uint8Array(packed.length);
  for (let at = 0; at < packed.length; at++) bytes[at] = packed.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

let index;                  // see `Index` in story.py
let rows = 0;
let times;                  // microseconds since the start, of each row
let bars = [];
const barOf = new Map();    // a bar by its first and by its last row
const barred = new Set();   // rows that a bar of their lane shows
const endOf = new Map();    // where a row's bar ends, and for an end where it begins
let texts = [];             // the streamed texts, put together: to search across tokens

function prepare() {
  rows = index.time.length;
  times = new Float64Array(rows);
  let at = 0;
  for (let row = 0; row < rows; row++) times[row] = at += index.time[row];
  bars = index.bars;
  for (const bar of bars) {
    for (const row of [bar.first, bar.last]) if (index.lane[row] === bar.lane) barred.add(row);
    if (!barOf.has(bar.first)) barOf.set(bar.first, bar);
    if (!barOf.has(bar.last)) barOf.set(bar.last, bar);
    if (bar.first !== bar.last && bar.lane !== TURNS) {
      if (!endOf.has(bar.first)) endOf.set(bar.first, bar.last);
      if (!endOf.has(bar.last)) endOf.set(bar.last, bar.first);
    }
  }
  for (const bar of bars) {
    if (bar.first === bar.last || bar.lane !== TURNS) continue;
    if (!endOf.has(bar.first)) endOf.set(bar.first, bar.last);
    if (!endOf.has(bar.last)) endOf.set(bar.last, bar.first);
  }
}

const blocks = new Map();   // the last blocks of payloads that were looked at

async function payloadLines(block) {
  if (!blocks.has(block)) {
    if (blocks.size >= 8) blocks.delete(blocks.keys().next().value);
    blocks.set(block, inflate(`block-${block}`).then((text) => text.split("\n")));
  }
  return blocks.get(block);
}

async function payloadOf(row) {
  const lines = await payloadLines(Math.floor(row / index.per_block));
  return lines[row % index.per_block];
}

// --- times and names

function duration(micros) {
  if (micros < 1000) return `${micros} µs`;
  if (micros < 1e6) return `${(micros / 1000).toFixed(micros < 1e4 ? 1 : 0)} ms`;
  if (micros < 6e7) return `${(micros / 1e6).toFixed(2)} s`;
  const seconds = Math.round(micros / 1e6);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  if (hours >= 48) return `${Math.round(hours / 24)} days`;
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${seconds % 60} s`;
}

const moment = (micros) => `+${(micros / 1e6).toFixed(3)}`;
const typeOf = (row) => index.types[index.type[row]];
const is = (row, flag) => (index.flag[row] & flag) !== 0;
const plural = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(text, press, title) {
  const made = element("button", "", text);
  made.type = "button";
  if (title) made.title = title;
  made.addEventListener("click", press);
  return made;
}

// --- which rows are shown

const hiddenLanes = new Set();
let onlyProblems = false;
let folds = true;
let session = -1;
let turn = -1;
let words = "";             // what is searched, in lower case
let found = null;           // rows that match the search: a byte for each row
let searching = 0;          // which search is running, so that an older one stops
let matched = new Int32Array(0);
const unfolded = new Set(); // first rows of runs that are unfolded
let items = [];             // lines of the list: {first, last} of `matched`, and whether a line is part of a run

function wanted(row) {
  const lane = index.lane[row];
  if (hiddenLanes.has(lane) && !(is(row, PROBLEM) && !hiddenLanes.has(ERRORS))) return false;
  if (onlyProblems && !index.flag[row]) return false;
  if (session >= 0 && index.session[row] >= 0 && index.session[row] !== session) return false;
  if (turn >= 0 && index.turn[row] !== turn) return false;
  if (zoom && (places[row] < zoom[0] || places[row] > zoom[1])) return false;
  return found === null || found[row] === 1;
}

function filter(keep = true) {
  const chosenRow = chosen;
  const matching = [];
  for (let row = 0; row < rows; row++) if (wanted(row)) matching.push(row);
  matched = Int32Array.from(matching);
  fold();
  showCount();
  const list = $("list");
  $("empty").hidden = items.length > 0;
  $("strut").style.height = `${items.length * LINE}px`;
  drawn = [-1, -1];
  const place = keep && chosenRow >= 0 ? itemOf(chosenRow) : -1;
  if (place >= 0) reveal(place); else if (!keep) list.scrollTop = 0;
  drawList();
  draw();
}

function fold() {
  items = [];
  const kinds = index.fold;
  let at = 0;
  while (at < matched.length) {
    let end = at + 1;
    let kind = kinds[matched[at]];
    if (folds && kind !== ALONE) {
      const of = index.session[matched[at]];
      for (; end < matched.length; end++) {
        const next = kinds[matched[end]];
        if (next === ALONE || index.session[matched[end]] !== of) break;
        // A few quiet events before a text belong to it; many are a run of their own.
        if (kind === QUIET && next !== QUIET && end - at < 3) kind = next;
        if (next !== QUIET && next !== kind) break;
      }
      // Quiet events behind a text are a run of their own, unless more of the text follows.
      if (kind !== QUIET) while (kinds[matched[end - 1]] === QUIET && end - 1 > at) end--;
    }
    if (end - at < (kind === QUIET ? 3 : 2) || !folds) {
      for (; at < end; at++) items.push({ first: at, last: at, kind: ALONE, child: false });
      continue;
    }
    items.push({ first: at, last: end - 1, kind, child: false });
    if (unfolded.has(matched[at])) {
      for (let part = at; part < end; part++) items.push({ first: part, last: part, kind: ALONE, child: true });
    }
    at = end;
  }
}

function itemOf(row) {
  // The line of a row; of one that is not shown, that of the last row before it.
  let [low, high] = [0, items.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (matched[items[middle].first] <= row) low = middle; else high = middle - 1;
  }
  // A folded line and its first part begin with the same row.
  if (low > 0 && items[low].child && chosenRun && items[low - 1].first === items[low].first) low--;
  return items.length ? low : -1;
}

function showCount() {
  const all = matched.length === rows;
  $("count").textContent = all ? `${rows.toLocaleString("en")} rows` : `${matched.length.toLocaleString("en")} of ${plural(rows, "row")}`;
  const range = $("range");
  range.hidden = !zoom;
  if (zoom) {
    range.textContent = `${moment(timeAt(zoom[0]))} to ${moment(timeAt(zoom[1]))} ✕`;
    range.title = "Show the whole time (0)";
  }
}

// --- search

function joinTexts() {
  const parts = new Map();
  for (let row = 0; row < rows; row++) {
    const kind = index.fold[row];
    if (kind !== TEXT && kind !== THINKING) continue;
    const key = `${index.session[row]} ${index.turn[row]} ${kind}`;
    let one = parts.get(key);
    if (!one) parts.set(key, (one = { rows: [], ends: [], pieces: [], length: 0 }));
    const said = index.said[row];
    one.rows.push(row);
    one.pieces.push(said);
    one.ends.push((one.length += said.length));
  }
  texts = [...parts.values()].map((one) => ({ rows: one.rows, ends: one.ends, text: one.pieces.join("").toLowerCase() }));
}

async function search() {
  const mine = ++searching;
  words = $("search").value.trim().toLowerCase();
  if (!words) {
    found = null;
    filter();
    return;
  }
  const hits = new Uint8Array(rows);
  const typed = index.types.map((name) => name.toLowerCase().includes(words));
  for (let row = 0; row < rows; row++) {
    if (typed[index.type[row]] || index.said[row].toLowerCase().includes(words)) hits[row] = 1;
  }
  if (!texts.length) joinTexts();
  for (const one of texts) {
    let piece = 0;
    for (let at = one.text.indexOf(words); at >= 0; at = one.text.indexOf(words, at + words.length)) {
      while (one.ends[piece] <= at) piece++;
      for (let part = piece; part < one.rows.length && (part === piece || one.ends[part - 1] < at + words.length); part++) {
        hits[one.rows[part]] = 1;
      }
    }
  }
  found = hits;
  filter(false);
  $("count").textContent += ", searching payloads";
  // Payloads take longer, so they are looked through piece by piece.
  const count = Math.ceil(rows / index.per_block);
  let news = false;
  let shown = performance.now();
  for (let block = 0; block < count; block++) {
    const lines = blocks.has(block) ? await blocks.get(block) : (await inflate(`block-${block}`)).split("\n");
    if (mine !== searching) return;
    for (let at = 0; at < lines.length; at++) {
      const row = block * index.per_block + at;
      if (!hits[row] && lines[at].toLowerCase().includes(words)) hits[row] = news = 1;
    }
    if (performance.now() - shown > 400) {
      if (news) filter(); else showCount();
      news = false;
      $("count").textContent += `, searching payloads: ${Math.round((100 * block) / count)} %`;
      await new Promise((next) => setTimeout(next));
      if (mine !== searching) return;
      shown = performance.now();
    }
  }
  if (news) filter(); else showCount();
}

let typing = 0;
function searchSoon() {
  clearTimeout(typing);
  typing = setTimeout(search, rows > 20000 ? 180 : 60);
}

function clearFilters() {
  $("search").value = "";
  words = "";
  found = null;
  searching++;
  hiddenLanes.clear();
  onlyProblems = false;
  session = turn = -1;
  $("session").value = $("turn").value = "-1";
  $("problems").setAttribute("aria-pressed", "false");
  zoom = null;
  showLanes();
  filter();
}

// --- the list: only the lines in sight are elements

let chosen = -1;            // the chosen row
let chosenRun = false;      // whether the run that begins there is chosen, and not the row alone
let drawn = [-1, -1];

function drawList() {
  const list = $("list");
  const first = Math.max(0, Math.floor(list.scrollTop / LINE) - 10);
  const last = Math.min(items.length, Math.ceil((list.scrollTop + list.clientHeight) / LINE) + 10);
  if (first === drawn[0] && last === drawn[1]) return;
  drawn = [first, last];
  const lines = $("lines");
  lines.style.transform = `translateY(${first * LINE}px)`;
  const made = [];
  for (let place = first; place < last; place++) made.push(line(items[place], place));
  lines.replaceChildren(...made);
  showChosen();
}

function line(item, place) {
  const row = matched[item.first];
  const run = item.last > item.first;
  const made = element("div", "row");
  made.style.setProperty("--colour", `var(--lane${laneOf(item)})`);
  made.setAttribute("role", "option");
  made.setAttribute("aria-setsize", items.length);
  made.setAttribute("aria-posinset", place + 1);
  made.id = `line-${place}`;
  made.dataset.place = place;
  if (item.child) made.classList.add("child");
  made.append(element("span", "stripe"));
  const open = run && unfolded.has(row);
  const twist = element("span", "twist", run ? (open ? "▾" : "▸") : "");
  if (run) made.setAttribute("aria-expanded", String(open));
  made.append(twist, element("span", "when", moment(times[row])));
  made.append(element("span", "number", index.seq[row] ? `#${index.seq[row]}` : ""));
  const type = element("span", "type");
  const said = element("span", "said");
  marked(type, run ? runName(item) : typeOf(row));
  const spoken = run ? runText(item, 400) : sayingOf(row);
  marked(said, spoken);
  made.append(type, said);
  if (!run) {
    if (is(row, WAITS)) made.append(element("span", "badge wait", "waits"));
    else if (is(row, PROBLEM)) made.append(element("span", "badge bad", failure(row)));
    const bar = barOf.get(row);
    if (bar && bar.lasted >= 0 && bar.last === row) made.append(element("span", "lasted", duration(bar.lasted)));
  } else {
    made.append(element("span", "lasted", duration(times[matched[item.last]] - times[row])));
  }
  return made;
}

function failure(row) {
  if (index.lane[row] !== REST) return "failed";
  return index.said[row].startsWith("no answer") ? "no answer" : "refused";
}

function laneOf(item) {
  if (item.last > item.first && item.kind === QUIET) return index.lanes.length - 1;
  return index.lane[mainRow(item)];
}

function mainRow(item) {
  for (let at = item.first; at <= item.last; at++) if (index.fold[matched[at]] === item.kind) return matched[at];
  return matched[item.first];
}

function runName(item) {
  if (item.kind === THINKING) return `thinking ×${item.last - item.first + 1}`;
  if (item.kind === QUIET) return `${(item.last - item.first + 1).toLocaleString("en")} quiet events`;
  let count = 0;
  for (let at = item.first; at <= item.last; at++) if (index.fold[matched[at]] === item.kind) count++;
  return `${typeOf(mainRow(item))} ×${count.toLocaleString("en")}`;
}

function runText(item, most) {
  if (item.kind === QUIET) {
    const names = new Set();
    for (let at = item.first; at <= item.last && names.size < 12; at++) names.add(typeOf(matched[at]));
    return [...names].join(", ");
  }
  return quoted(textOf(item, most));
}

function textOf(item, most = Infinity) {
  let text = "";
  for (let at = item.first; at <= item.last && text.length < most; at++) {
    if (index.fold[matched[at]] === item.kind) text += index.said[matched[at]];
  }
  return text;
}

const quoted = (text) => (text ? `“${text.replace(/\s+/g, " ").trim()}”` : "");

function sayingOf(row) {
  const kind = index.fold[row];
  return kind === TEXT || kind === THINKING ? quoted(index.said[row]) : index.said[row];
}

function marked(into, text) {
  const at = words ? text.toLowerCase().indexOf(words) : -1;
  if (at < 0) {
    into.textContent = text;
    return;
  }
  // What matched far behind is brought into sight.
  const from = at > 80 ? at - 40 : 0;
  into.append(from ? `…${text.slice(from, at)}` : text.slice(0, at));
  into.append(element("mark", "", text.slice(at, at + words.length)), text.slice(at + words.length));
}

function reveal(place) {
  const list = $("list");
  const top = place * LINE;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + LINE > list.scrollTop + list.clientHeight) list.scrollTop = top + LINE - list.clientHeight;
}

function chosenPlace() {
  if (chosen < 0 || !items.length) return -1;
  const place = itemOf(chosen);
  const item = items[place];
  const inside = matched[item.first] <= chosen && chosen <= matched[item.last];
  return inside ? place : -1;
}

function showChosen() {
  const place = chosenPlace();
  for (const one of $("lines").children) one.setAttribute("aria-selected", String(Number(one.dataset.place) === place));
  const list = $("list");
  if (place >= drawn[0] && place < drawn[1]) list.setAttribute("aria-activedescendant", `line-${place}`);
  else list.removeAttribute("aria-activedescendant");
}

function choosePlace(place) {
  if (!items.length) return;
  place = Math.max(0, Math.min(items.length - 1, place));
  const item = items[place];
  choose(matched[item.first], item.last > item.first, place);
}

function choose(row, run = false, place = -1) {
  chosen = row;
  chosenRun = run;
  if (place < 0) place = itemOf(row);
  if (place >= 0) {
    const item = items[place];
    if (!run && item.last > item.first && matched[item.first] <= row && row <= matched[item.last]) {
      unfolded.add(matched[item.first]);
      filter();
      place = itemOf(row);
    }
    reveal(place);
  }
  drawList();
  showChosen();
  draw();
  showDetails();
  history.replaceState(null, "", `#${row}`);
}

function go(row) {
  // To a row wherever it is: what hides it is taken away.
  if (!wanted(row)) clearFilters();
  choose(row);
  $("list").focus({ preventScroll: true });
}

function toggleRun(open) {
  const place = chosenPlace();
  if (place < 0) return;
  let item = items[place];
  if (item.child && open !== true) {
    let above = place;
    while (items[above].child) above--;
    item = items[above];
  }
  if (item.last === item.first) return;
  const row = matched[item.first];
  if (open === undefined ? !unfolded.has(row) : open) unfolded.add(row); else unfolded.delete(row);
  chosen = row;
  chosenRun = true;
  filter();
  choosePlace(itemOf(row));
}

function nextProblem(step) {
  const from = chosen < 0 ? (step > 0 ? -1 : rows) : chosen;
  for (let row = from + step; row >= 0 && row < rows; row += step) {
    if (index.flag[row] && wanted(row)) return choose(row);
  }
  return undefined;
}

// --- details of the chosen row

let showing = 0;
let copied = null;          // what `c` copies

async function showDetails() {
  const mine = ++showing;
  const place = chosenPlace();
  const item = place >= 0 ? items[place] : null;
  const into = document.createDocumentFragment();
  if (chosen < 0) {
    into.append(element("p", "hint", "Choose a row to see its payload. Press ? for the keys."));
    $("details").replaceChildren(into);
    return;
  }
  if (chosenRun && item && item.last > item.first) {
    runDetails(into, item);
  } else {
    const line = await payloadOf(chosen);
    if (mine !== showing) return;
    rowDetails(into, chosen, line);
  }
  const details = $("details");
  details.style.setProperty("--colour", `var(--lane${chosenRun && item ? laneOf(item) : index.lane[chosen]})`);
  details.replaceChildren(into);
  details.scrollTop = 0;
}

function facts(pairs) {
  const made = element("dl", "facts");
  for (const [name, value] of pairs) {
    if (value === "" || value === null || value === undefined) continue;
    const one = element("div");
    one.append(element("dt", "", name), element("dd", "", String(value)));
    made.append(one);
  }
  return made;
}

function runDetails(into, item) {
  const [first, last] = [matched[item.first], matched[item.last]];
  into.append(element("h2", "", runName(item)));
  into.append(facts([["Time", `${moment(times[first])} to ${moment(times[last])} s`], ["Rows", item.last - item.first + 1],
    ["Turn", index.turn[first] >= 0 ? index.turns[index.turn[first]] : ""]]));
  const links = element("div", "links");
  links.append(button(unfolded.has(first) ? "Fold the run" : "Unfold the run", () => toggleRun()));
  into.append(links);
  if (item.kind === QUIET) {
    const counts = new Map();
    for (let at = item.first; at <= item.last; at++) counts.set(typeOf(matched[at]), (counts.get(typeOf(matched[at])) || 0) + 1);
    into.append(title("Events", null));
    into.append(element("pre", "", [...counts].map(([name, count]) => `${String(count).padStart(6)}  ${name}`).join("\n")));
    copied = null;
    return;
  }
  const text = textOf(item);
  into.append(title(item.kind === TEXT ? "Text" : "Thinking", () => text));
  into.append(long(text));
  copied = () => text;
}

function rowDetails(into, row, line) {
  let value;
  try {
    value = JSON.parse(line);
  } catch (error) {
    value = undefined;
  }
  const bar = barOf.get(row);
  into.append(element("h2", "", typeOf(row)));
  if (index.lane[row] === REST && value) callDetails(into, row, value);
  else eventDetails(into, row, value, line, bar);
}

function links(row, bar) {
  const made = element("div", "links");
  if (endOf.has(row)) {
    const other = endOf.get(row);
    const text = other > row ? `To its end, ${moment(times[other])} s` : `To its beginning, ${moment(times[other])} s`;
    made.append(button(text, () => go(other), "o"));
  }
  if (bar && bar.lane === TURNS && bar.first !== bar.last) {
    made.append(button("Show this turn only", () => { turn = index.turn[row]; $("turn").value = String(turn); filter(); }));
  }
  return made;
}

function eventDetails(into, row, value, line, bar) {
  const state = bar ? (bar.lasted < 0 ? `${bar.state}, never ended` : bar.state) : "";
  into.append(facts([["Time", `${moment(times[row])} s`], ["Number", index.seq[row] ? `#${index.seq[row]}` : "none"],
    ["Lasted", bar && bar.lasted >= 0 ? duration(bar.lasted) : ""], ["State", state],
    ["Session", index.sessions.length > 1 ? index.sessions[index.session[row]] : ""],
    ["Turn", index.turn[row] >= 0 ? index.turns[index.turn[row]] : ""], ["At", value && typeof value.ts === "string" ? value.ts : ""]]));
  into.append(links(row, bar));
  if (index.lane[row] === ERRORS && index.said[row]) {
    into.append(title("What is wrong", null), element("pre", "", index.said[row]));
  }
  if (value === undefined) {
    into.append(title("As it came", () => line), long(line));
    copied = () => line;
    return;
  }
  const payload = "payload" in value ? value.payload : value;
  const text = JSON.stringify(payload, null, 2);
  into.append(title("Payload", () => text), coloured(text));
  copied = () => text;
  if (payload !== value) {
    const { payload: _, ...rest } = value;
    const whole = () => JSON.stringify(value, null, 2);
    into.append(title("Envelope", whole, "Copy the whole event"), coloured(JSON.stringify(rest, null, 2)));
  }
}

function callDetails(into, row, call) {
  const came = call.status === null ? `no answer: ${call.error}` : call.status;
  into.append(facts([["Sent", `${moment(times[row])} s`], ["Status", came], ["Took", duration(Math.round(call.duration * 1e6))],
    ["Attempt", call.retry ? call.retry + 1 : ""], ["Turn", call.correlation_id], ["At", call.started],
    ["Answer", call.is_example ? "made up from the contract" : ""]]));
  into.append(title("Call it again", () => call.curl, "Copy the command"), element("pre", "", call.curl));
  copied = () => call.curl;
  if (call.query && call.query.length) {
    into.append(title("Query", null), element("pre", "", call.query.map(([name, value]) => `${name} = ${value}`).join("\n")));
  }
  body(into, "Request", call.request, call.request_size);
  body(into, "Answer", call.response, call.response_size);
}

function body(into, name, value, size) {
  if (value === null || value === undefined) {
    if (size) into.append(title(name, null), element("p", "hint", `${plural(size, "byte")}, not recorded`));
    return;
  }
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  into.append(title(`${name}, ${plural(size, "byte")}`, () => text));
  into.append(typeof value === "string" ? long(text) : coloured(text));
}

function title(text, copies, label = "Copy") {
  const made = element("h3", "", text);
  if (copies) {
    const press = button(label, async () => {
      await copy(copies());
      press.textContent = "Copied";
      setTimeout(() => { press.textContent = label; }, 1200);
    });
    made.append(press);
  }
  return made;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch (error) {
    // Some browsers have no clipboard for files on a disk.
    const area = element("textarea", "hidden");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

function long(text) {
  const made = element("pre", "", text.slice(0, MOST_SHOWN));
  if (text.length > MOST_SHOWN) made.append(`\n… ${plural(text.length - MOST_SHOWN, "more character")}; Copy takes all of it.`);
  return made;
}

const TOKENS = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\b(?:true|false|null)\b/g;

function coloured(text) {
  if (text.length > MOST_COLOURED) return long(text);
  const made = element("pre");
  let at = 0;
  for (const one of text.matchAll(TOKENS)) {
    if (one.index > at) made.append(text.slice(at, one.index));
    const name = one[1] ? (one[2] ? "key" : "text") : /^[-\d]/.test(one[0]) ? "num" : "word";
    made.append(element("span", name, one[1] || one[0]));
    if (one[2]) made.append(one[2]);
    at = one.index + one[0].length;
  }
  made.append(text.slice(at));
  return made;
}

// --- the timeline
//
// A place is where something stands on the time axis, from 0 to 1. Long times in which nothing happens take
// little room: between two knots of the axis places grow evenly.

let knots = [{ time: 0, place: 0 }, { time: 1, place: 1 }];
let gaps = [];              // the pairs of knots between which nothing happens
let places;                 // the place of each row
let levels = [];            // of each bar: which of how many levels of its lane
let zoom = null;            // the places in sight, or null for all
let hovered = null;

function makeAxis() {
  let end = index.end;
  const spans = [];
  for (let row = 0; row < rows; row++) spans.push([times[row], times[row]]);
  for (const bar of bars) {
    const from = times[bar.first];
    const to = bar.lasted >= 0 ? from + bar.lasted : end;
    end = Math.max(end, to);
    // Something that never ended does not fill the time behind it.
    if (bar.lasted >= 0 && bar.lasted > 0) spans.push([from, to]);
  }
  end = Math.max(end, 1);
  spans.sort((one, other) => one[0] - other[0]);
  const idle = [];
  let busyUntil = 0;
  for (const [from, to] of spans) {
    if (from - busyUntil > 2e6) idle.push([busyUntil, from]);
    busyUntil = Math.max(busyUntil, to);
  }
  idle.sort((one, other) => other[1] - other[0] - (one[1] - one[0]));
  let left = end;
  const folded = [];
  for (const gap of idle) {
    const length = gap[1] - gap[0];
    if (length < 0.25 * left || folded.length >= 12) break;
    folded.push(gap);
    left -= length;
  }
  folded.sort((one, other) => one[0] - other[0]);
  const width = folded.length ? Math.min(0.03, 0.3 / folded.length) : 0;
  const scale = (1 - width * folded.length) / Math.max(left, 1);
  knots = [{ time: 0, place: 0 }];
  gaps = [];
  let last = knots[0];
  const knot = (time, place) => knots.push((last = { time, place }));
  for (const [from, to] of folded) {
    knot(from, last.place + (from - last.time) * scale);
    gaps.push([from, to, last.place, last.place + width]);
    knot(to, last.place + width);
  }
  knot(end, 1);
  places = new Float64Array(rows);
  let at = 0;
  for (let row = 0; row < rows; row++) {
    while (at < knots.length - 2 && times[row] > knots[at + 1].time) at++;
    places[row] = between(times[row], knots[at], knots[at + 1], "time", "place");
  }
  makeLevels(end);
}

function between(value, one, other, from, to) {
  const length = other[from] - one[from];
  return length > 0 ? one[to] + ((value - one[from]) / length) * (other[to] - one[to]) : one[to];
}

function placeAt(time) {
  let at = 0;
  while (at < knots.length - 2 && time > knots[at + 1].time) at++;
  return between(time, knots[at], knots[at + 1], "time", "place");
}

function timeAt(place) {
  let at = 0;
  while (at < knots.length - 2 && place > knots[at + 1].place) at++;
  return between(place, knots[at], knots[at + 1], "place", "time");
}

function makeLevels(end) {
  // Bars of a lane that overlap stand above each other.
  const most = 4;
  const busy = new Map();
  const order = bars.map((bar, at) => at).sort((one, other) => times[bars[one].first] - times[bars[other].first]);
  const lanes = index.lanes.map(() => 1);
  for (const at of order) {
    const bar = bars[at];
    bar.from = placeAt(times[bar.first]);
    bar.to = bar.lasted >= 0 ? placeAt(Math.min(end, times[bar.first] + bar.lasted)) : 1;
    const until = busy.get(bar.lane) || [];
    busy.set(bar.lane, until);
    let level = until.findIndex((one) => one <= bar.from);
    if (level < 0) level = until.length < most ? until.length : most - 1;
    until[level] = Math.max(until[level] || 0, bar.to);
    bar.level = level;
    lanes[bar.lane] = Math.max(lanes[bar.lane], level + 1);
  }
  levels = lanes;
}

const palette = {};
function readPalette() {
  const probe = element("span");
  document.body.append(probe);
  const names = ["back", "raised", "line", "ink", "soft", "focus", "bad", "wait", ...index.lanes.map((_, lane) => `lane${lane}`)];
  for (const name of names) {
    probe.style.color = `var(--${name})`;
    palette[name] = getComputedStyle(probe).color;
  }
  probe.remove();
}

function draw() {
  const canvas = $("canvas");
  const width = $("plot").clientWidth;
  const height = AXIS + LANE * index.lanes.length + 2;
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const [from, to] = zoom || [0, 1];
  const pad = 6;
  const scale = (width - 2 * pad) / (to - from);
  const x = (place) => pad + (place - from) * scale;
  const view = { width, height, x, from, to, pad, scale };
  drawAxis(pen, view);
  for (let lane = 0; lane < index.lanes.length; lane++) {
    pen.globalAlpha = hiddenLanes.has(lane) ? 0.25 : 1;
    drawTicks(pen, view, lane);
    drawBars(pen, view, lane);
  }
  pen.globalAlpha = 1;
  if (chosen >= 0) {
    const at = x(places[chosen]);
    pen.fillStyle = palette.focus;
    pen.fillRect(at - 0.5, AXIS - 4, 1, height - AXIS + 4);
    pen.beginPath();
    pen.moveTo(at - 5, AXIS - 9);
    pen.lineTo(at + 5, AXIS - 9);
    pen.lineTo(at, AXIS - 3);
    pen.fill();
  }
}

function drawAxis(pen, view) {
  const { width, height, x } = view;
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.strokeStyle = palette.line;
  pen.fillStyle = palette.line;
  for (let lane = 0; lane <= index.lanes.length; lane++) pen.fillRect(0, AXIS + lane * LANE, width, 1);
  for (let at = 0; at + 1 < knots.length; at++) {
    const [one, other] = [knots[at], knots[at + 1]];
    const isGap = gaps.some((gap) => gap[0] === one.time && gap[1] === other.time);
    const [left, right] = [Math.max(x(one.place), 0), Math.min(x(other.place), width)];
    if (right <= left) continue;
    if (isGap) drawGap(pen, view, left, right, other.time - one.time);
    else drawTimes(pen, view, left, right);
  }
  pen.fillStyle = palette.line;
  pen.fillRect(0, height - 1, width, 1);
}

function drawGap(pen, view, left, right, length) {
  pen.fillStyle = palette.raised;
  pen.fillRect(left, AXIS, right - left, view.height - AXIS);
  pen.fillStyle = palette.soft;
  pen.textAlign = "center";
  pen.fillText("⋯", (left + right) / 2, AXIS / 2);
  if (right - left < 14) return;
  pen.save();
  pen.translate((left + right) / 2, (AXIS + view.height) / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(`${duration(length)} idle`, 0, 0);
  pen.restore();
}

function drawTimes(pen, view, left, right) {
  const [begin, finish] = [timeAt(view.from + (left - view.pad) / view.scale), timeAt(view.from + (right - view.pad) / view.scale)];
  const perPixel = (finish - begin) / (right - left);
  if (!(perPixel > 0)) return;
  const least = perPixel * 90;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= least);
  const digits = Math.max(0, Math.min(6, -Math.floor(Math.log10(step / 1e6) + 1e-9)));
  pen.textAlign = "left";
  for (let time = Math.ceil(begin / step - 1e-9) * step; time <= finish; time += step) {
    const at = left + (time - begin) / perPixel;
    pen.fillStyle = palette.line;
    pen.fillRect(at, 4, 1, view.height - 4);
    const text = `${(time / 1e6).toFixed(digits)} s`;
    if (at + 4 + pen.measureText(text).width > right) continue;
    pen.fillStyle = palette.soft;
    pen.fillText(text, at + 4, AXIS / 2);
  }
}

function drawTicks(pen, view, lane) {
  const { x, from, to } = view;
  const top = AXIS + lane * LANE;
  const thick = lane === MODEL ? LANE - 10 : LANE - 12;
  pen.fillStyle = palette[`lane${lane}`];
  // Ticks closer than a pixel or two are one block.
  let [left, right] = [NaN, NaN];
  const flush = () => { if (right >= left) pen.fillRect(left, top + (LANE - thick) / 2, Math.max(2, right - left), thick); };
  for (let row = 0; row < rows; row++) {
    // What has a bar needs no tick.
    const stands = index.lane[row] === lane ? !barred.has(row) : lane === ERRORS && is(row, PROBLEM);
    if (!stands || places[row] < from || places[row] > to) continue;
    const at = x(places[row]) - 1;
    if (at <= right + 1.5) right = Math.max(right, at + 2);
    else {
      flush();
      [left, right] = [at, at + 2];
    }
  }
  flush();
}

function drawBars(pen, view, lane) {
  const { x, from, to } = view;
  const room = LANE - 5;
  const height = room / levels[lane];
  pen.font = "11px system-ui, sans-serif";
  pen.textAlign = "left";
  for (const bar of bars) {
    if (bar.lane !== lane || bar.to < from || bar.from > to) continue;
    const [left, right] = [Math.max(x(bar.from), -5), Math.min(x(bar.to), view.width + 5)];
    const top = AXIS + lane * LANE + 3 + bar.level * height;
    const wide = Math.max(right - left, 2);
    const colour = bar.state === "failed" || bar.state === "timeout" ? palette.bad : palette[`lane${lane}`];
    const dim = pen.globalAlpha;
    pen.globalAlpha = dim * (bar.lasted < 0 ? 0.16 : 0.28);
    pen.fillStyle = colour;
    pen.fillRect(left, top, wide, height - 1);
    pen.globalAlpha = dim;
    pen.strokeStyle = colour;
    pen.lineWidth = 1;
    pen.setLineDash(bar.lasted < 0 ? [4, 3] : []);
    if (wide > 3) pen.strokeRect(left + 0.5, top + 0.5, wide - 1, height - 2);
    else pen.fillRect(left, top, wide, height - 1);
    pen.setLineDash([]);
    if (wide > 34 && height > 11) {
      pen.fillStyle = palette.ink;
      const text = lane === TURNS ? `${bar.state}${bar.lasted >= 0 ? `, ${duration(bar.lasted)}` : ""}` : bar.name;
      pen.fillText(clipped(pen, text, wide - 8), Math.max(left, 0) + 4, top + height / 2);
    }
  }
}

function clipped(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let length = Math.floor(text.length * (width / pen.measureText(text).width)) - 1;
  return length > 0 ? `${text.slice(0, length)}…` : "";
}

function near(event) {
  // The place under the pointer, its lane, and the row or bar there.
  const box = $("plot").getBoundingClientRect();
  const [left, top] = [event.clientX - box.left, event.clientY - box.top];
  const [from, to] = zoom || [0, 1];
  const scale = (box.width - 12) / (to - from);
  const place = Math.max(from, Math.min(to, from + (left - 6) / scale));
  const lane = Math.floor((top - AXIS) / LANE);
  let best = null;
  let distance = 7 / scale;
  if (lane >= 0 && lane < index.lanes.length) {
    for (let row = 0; row < rows; row++) {
      if (index.lane[row] !== lane && !(lane === ERRORS && is(row, PROBLEM))) continue;
      const away = Math.abs(places[row] - place);
      if (away < distance) [best, distance] = [row, away];
    }
    const level = Math.floor(((top - AXIS - lane * LANE - 3) / (LANE - 5)) * levels[lane]);
    const bar = bars.find((one) => one.lane === lane && one.from <= place && place <= one.to && one.level === level);
    if (bar && (best === null || distance > 3 / scale)) return { place, lane, left, top, row: bar.first, bar, width: box.width };
  }
  return { place, lane, left, top, row: best, bar: null, width: box.width };
}

function hover(event) {
  hovered = near(event);
  const cursor = $("cursor");
  cursor.hidden = false;
  cursor.style.left = `${hovered.left}px`;
  const tip = $("tip");
  tip.hidden = false;
  const { row, bar } = hovered;
  const lasted = bar ? (bar.lasted >= 0 ? ` ${duration(bar.lasted)}` : " never ended") : "";
  tip.textContent = row === null ? `${moment(timeAt(hovered.place))} s`
    : bar ? `${bar.name}: ${bar.state},${lasted}` : `${moment(times[row])} s  ${typeOf(row)}  ${sayingOf(row).slice(0, 80)}`;
  const right = hovered.left > hovered.width / 2;
  tip.style.left = right ? "" : `${hovered.left + 10}px`;
  tip.style.right = right ? `${hovered.width - hovered.left + 10}px` : "";
  tip.style.top = `${Math.min(hovered.top + 14, AXIS + LANE * index.lanes.length - 24)}px`;
}

let dragFrom = null;

function pointerDown(event) {
  if (event.button !== 0) return;
  dragFrom = near(event);
  $("plot").setPointerCapture(event.pointerId);
}

function pointerMove(event) {
  hover(event);
  if (!dragFrom) return;
  const [left, right] = [Math.min(dragFrom.left, hovered.left), Math.max(dragFrom.left, hovered.left)];
  const selection = $("selection");
  selection.hidden = right - left < 5;
  selection.style.left = `${left}px`;
  selection.style.width = `${right - left}px`;
}

function pointerUp(event) {
  if (!dragFrom) return;
  const [one, other] = [dragFrom, near(event)];
  dragFrom = null;
  $("selection").hidden = true;
  if (Math.abs(one.left - other.left) >= 5) setZoom([Math.min(one.place, other.place), Math.max(one.place, other.place)]);
  else if (other.row !== null) go(other.row);
}

function setZoom(range) {
  if (range && range[1] - range[0] < 1e-9) return;
  zoom = range && (range[0] > 0 || range[1] < 1) ? [Math.max(0, range[0]), Math.min(1, range[1])] : null;
  filter();
}

function zoomBy(factor, around) {
  const [from, to] = zoom || [0, 1];
  const inSight = chosen >= 0 && places[chosen] >= from && places[chosen] <= to;
  const middle = around !== undefined ? around : inSight ? places[chosen] : (from + to) / 2;
  setZoom([middle - (middle - from) * factor, middle + (to - middle) * factor]);
}

// --- lanes and menus

function makeLanes() {
  const counts = index.lanes.map(() => 0);
  for (let row = 0; row < rows; row++) {
    counts[index.lane[row]]++;
    if (is(row, PROBLEM) && index.lane[row] !== ERRORS) counts[ERRORS]++;
  }
  const made = index.lanes.map((name, lane) => {
    const one = button("", (event) => toggleLane(lane, event.shiftKey || event.altKey));
    one.style.setProperty("--colour", `var(--lane${lane})`);
    one.title = lane === ERRORS ? "Everything that failed, of whatever lane" : `${name} (${lane + 1})`;
    one.append(element("i"), element("span", "", name), element("b", "", counts[lane].toLocaleString("en")));
    if (!counts[lane]) one.classList.add("none");
    return one;
  });
  $("lanes").replaceChildren(...made);
  showLanes();
}

function toggleLane(lane, only) {
  if (only) {
    const alone = hiddenLanes.size === index.lanes.length - 1 && !hiddenLanes.has(lane);
    hiddenLanes.clear();
    if (!alone) index.lanes.forEach((_, other) => { if (other !== lane) hiddenLanes.add(other); });
  } else if (!hiddenLanes.delete(lane)) {
    hiddenLanes.add(lane);
  }
  showLanes();
  filter();
}

function showLanes() {
  [...$("lanes").children].forEach((one, lane) => one.setAttribute("aria-pressed", String(!hiddenLanes.has(lane))));
}

function makeMenu(name, listed, set) {
  const menu = $(name);
  const option = (text, value) => {
    const made = element("option", "", text);
    made.value = String(value);
    return made;
  };
  menu.replaceChildren(option("all", -1), ...listed.map((text, at) => option(text, at)));
  menu.addEventListener("change", () => {
    set(Number(menu.value));
    filter();
  });
  $(`${name}-label`).hidden = listed.length < 2;
}

function turnNames() {
  // By the message that a turn began with: ids say nothing to people.
  const names = index.turns.map((id, at) => `${at + 1}. ${id}`);
  const named = new Set();
  for (let row = 0; row < rows; row++) {
    const at = index.turn[row];
    if (index.lane[row] !== USER || at < 0 || named.has(at)) continue;
    named.add(at);
    names[at] = `${at + 1}. ${index.said[row].slice(0, 60)}`;
  }
  return names;
}

function makeNotes() {
  const made = index.notes.map((note) => {
    const one = element("li", note.kind);
    one.append(element("span", "", note.text));
    if (note.row >= 0) one.append(button("Show", () => go(note.row)));
    return one;
  });
  $("notes").replaceChildren(...made);
}

// --- colours

const THEMES = ["auto", "light", "dark"];

function theme(name) {
  const root = document.documentElement;
  if (name === "auto") delete root.dataset.theme; else root.dataset.theme = name;
  $("theme").textContent = `Theme: ${name}`;
  try {
    localStorage.setItem("digitorn-theme", name);
  } catch (error) {
    // Without storage the choice lasts as long as the page.
  }
  if (index) {
    readPalette();
    draw();
  }
}

function nextTheme() {
  const now = document.documentElement.dataset.theme || "auto";
  theme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
}

function storedTheme() {
  try {
    const name = localStorage.getItem("digitorn-theme");
    return THEMES.includes(name) ? name : "auto";
  } catch (error) {
    return "auto";
  }
}

// --- printing, on white: the lines of the list become ordinary text

let themeOnScreen = "";

function print() {
  if ($("print").hidden) themeOnScreen = document.documentElement.dataset.theme || "auto";
  document.documentElement.dataset.theme = "light";
  readPalette();
  const into = $("print");
  const made = items.slice(0, MOST_PRINTED).map((item, place) => {
    const one = line(item, place);
    one.removeAttribute("id");
    return one;
  });
  if (items.length > MOST_PRINTED) made.push(element("p", "", `${(items.length - MOST_PRINTED).toLocaleString("en")} more lines are not printed.`));
  into.replaceChildren(...made);
  into.hidden = false;
  draw();
}

function printed() {
  $("print").hidden = true;
  $("print").replaceChildren();
  theme(themeOnScreen);
}

// --- keys

const page = () => Math.max(1, Math.floor($("list").clientHeight / LINE) - 1);
const KEYS = {
  ArrowDown: () => choosePlace(chosenPlace() + 1),
  ArrowUp: () => choosePlace(Math.max(0, chosenPlace() - 1)),
  PageDown: () => choosePlace(chosenPlace() + page()),
  PageUp: () => choosePlace(Math.max(0, chosenPlace() - page())),
  Home: () => choosePlace(0),
  End: () => choosePlace(items.length - 1),
  ArrowRight: () => toggleRun(true),
  ArrowLeft: () => toggleRun(false),
  Enter: () => toggleRun(),
  e: () => nextProblem(1),
  E: () => nextProblem(-1),
  o: () => { if (endOf.has(chosen)) go(endOf.get(chosen)); },
  c: () => { if (copied) copy(copied()); },
  t: nextTheme,
  "+": () => zoomBy(0.5),
  "=": () => zoomBy(0.5),
  "-": () => zoomBy(2),
  0: () => setZoom(null),
  "?": () => $("help").showModal(),
  "/": () => { $("search").focus(); $("search").select(); },
  Escape: () => { if ($("search").value || zoom) { $("search").value = ""; zoom = null; search(); } },
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const target = event.target;
  if (target === $("search")) {
    if (event.key === "Escape") {
      target.value = "";
      search();
      $("list").focus();
    } else if (event.key === "Enter" || event.key === "ArrowDown") {
      clearTimeout(typing);
      search();
      $("list").focus();
      if (chosenPlace() < 0) choosePlace(0);
    } else return;
    event.preventDefault();
    return;
  }
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) return;
  const inside = target.tagName === "BUTTON" || target.tagName === "SUMMARY";
  if (inside && (event.key === "Enter" || event.key === " ")) return;
  const scrolls = target.closest("#details, #report, header") && /^(Arrow(Up|Down)|Page|Home|End)/.test(event.key);
  if (scrolls) return;
  if (target === $("splitter") && /^Arrow(Left|Right)$/.test(event.key)) {
    resize($("details").offsetWidth + (event.key === "ArrowLeft" ? 20 : -20));
    event.preventDefault();
    return;
  }
  if (/^[1-8]$/.test(event.key)) toggleLane(Number(event.key) - 1, false);
  else if (Object.hasOwn(KEYS, event.key)) KEYS[event.key]();
  else return;
  event.preventDefault();
}

function resize(width) {
  const whole = $("list").offsetWidth + $("details").offsetWidth;
  $("details").style.width = `${Math.max(160, Math.min(whole - 200, width))}px`;
}

// --- the start

function listen() {
  document.addEventListener("keydown", pressed);
  $("theme").addEventListener("click", nextTheme);
  $("help-button").addEventListener("click", KEYS["?"]);
  $("search").addEventListener("input", searchSoon);
  $("clear").addEventListener("click", clearFilters);
  $("range").addEventListener("click", () => setZoom(null));
  $("zoom-in").addEventListener("click", () => zoomBy(0.5));
  $("zoom-out").addEventListener("click", () => zoomBy(2));
  $("zoom-all").addEventListener("click", () => setZoom(null));
  $("problems").addEventListener("click", () => {
    onlyProblems = !onlyProblems;
    $("problems").setAttribute("aria-pressed", String(onlyProblems));
    filter();
  });
  $("fold").addEventListener("click", () => {
    folds = !folds;
    $("fold").setAttribute("aria-pressed", String(folds));
    chosenRun = false;
    filter();
    showDetails();
  });
  const list = $("list");
  list.addEventListener("scroll", drawList, { passive: true });
  $("lines").addEventListener("click", (event) => {
    const one = event.target.closest(".row");
    if (!one) return;
    choosePlace(Number(one.dataset.place));
    if (event.target.classList.contains("twist")) toggleRun();
  });
  $("lines").addEventListener("dblclick", () => toggleRun());
  const plot = $("plot");
  plot.addEventListener("pointerdown", pointerDown);
  plot.addEventListener("pointermove", pointerMove);
  plot.addEventListener("pointerup", pointerUp);
  plot.addEventListener("pointercancel", () => { dragFrom = null; $("selection").hidden = true; });
  plot.addEventListener("pointerleave", () => { $("cursor").hidden = $("tip").hidden = true; });
  plot.addEventListener("dblclick", () => setZoom(null));
  plot.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoomBy(event.deltaY > 0 ? 1.25 : 0.8, near(event).place);
  }, { passive: false });
  const splitter = $("splitter");
  splitter.addEventListener("pointerdown", (event) => splitter.setPointerCapture(event.pointerId));
  splitter.addEventListener("pointermove", (event) => {
    if (splitter.hasPointerCapture(event.pointerId)) resize($("details").getBoundingClientRect().right - event.clientX);
  });
  new ResizeObserver(() => { draw(); drawList(); }).observe(plot);
  new ResizeObserver(() => drawList()).observe(list);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readPalette(); draw(); });
  window.addEventListener("beforeprint", print);
  window.addEventListener("afterprint", printed);
  window.addEventListener("hashchange", fromAddress);
}

function fromAddress() {
  const row = Number.parseInt(location.hash.slice(1), 10);
  if (row >= 0 && row < rows && row !== chosen) go(row);
}

function chooseFirst() {
  // An approval that nobody gave, or else the first problem; calls are refused in many tests that pass. Otherwise
  // the end, where the test failed, or the beginning of a recording.
  const waits = index.flag.findIndex((flag) => (flag & WAITS) !== 0);
  const telling = waits >= 0 ? waits : index.flag.findIndex((flag, row) => flag !== 0 && index.lane[row] !== REST);
  if (telling >= 0) choose(telling); else choosePlace($("headline").textContent ? items.length - 1 : 0);
}

async function start() {
  theme(storedTheme());
  if (typeof DecompressionStream === "undefined") throw new Error("this page needs a browser from 2024 or later");
  index = JSON.parse(await inflate("index"));
  prepare();
  $("main").hidden = false;
  makeNotes();
  makeLanes();
  makeAxis();
  readPalette();
  makeMenu("session", index.sessions, (value) => { session = value; });
  makeMenu("turn", turnNames(), (value) => { turn = value; });
  const problems = index.flag.filter((flag) => flag !== 0).length;
  $("problems").textContent = `Problems ${problems.toLocaleString("en")}`;
  $("canvas").setAttribute("aria-label", `Timeline of ${plural(rows, "row")} over ${duration(index.end)}; the list below has the same rows`);
  listen();
  filter();
  fromAddress();
  if (chosen < 0) chooseFirst();
  showDetails();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

start().catch((error) => {
  const failed = $("failed");
  failed.textContent = `The page cannot be shown: ${error.message}`;
  failed.hidden = false;
});
