// Small helpers for the page.
//
// What a request brought (a sender, a text, a number) is untrusted: it becomes a text node or an attribute's
// value, and is never parsed as HTML. Nothing in these files sets innerHTML.

export const $ = (id) => document.getElementById(id);

/** A copy of a template's only element. */
export const stamp = (id) => $(id).content.firstElementChild.cloneNode(true);

/** An element with a class and a text. */
export function element(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

/** Set a text only where it is another one: what has not changed is not announced again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** POST a JSON object. Gives the answer's object; throws an Error with a text for people. */
export async function post(path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The sandbox does not answer. Is it still running?");
  }
  const document = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(document.problem), { field: document.field });
  return document;
}

/** Copy a text. Gives whether it worked. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // no secure context, such as an address on the network: the older way
  }
}

function copyBySelection(text) {
  const focused = document.activeElement;
  const field = element("textarea", "visually-hidden");
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return done;
}

/** Let a button copy, and say so for a moment. `text` is asked when it is pressed. */
export function copies(button, label, text) {
  button.addEventListener("click", async () => {
    const done = await copy(text());
    setText(label, done ? "Copied" : "Not copied");
    announce(done ? "Copied" : "Copying did not work");
    setTimeout(() => setText(label, "Copy"), 1600);
  });
}

/** Tell a screen reader, when it has time. */
export function announce(text) {
  setText($("announcer"), "");
  requestAnimationFrame(() => setText($("announcer"), text));
}

// Times come as seconds of the sandbox's clock, which need not be the browser's.
const time = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const minute = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat([], { weekday: "short", day: "numeric", month: "short" });

export const clockTime = (seconds) => time.format(seconds * 1000);
export const clockMinute = (seconds) => minute.format(seconds * 1000);

/** "Today 14:03" */
export function groupTitle(seconds, now) {
  const [then, today] = [new Date(seconds * 1000), new Date(now * 1000)];
  const name = then.toDateString() === today.toDateString() ? "Today" : day.format(then);
  return `${name} ${minute.format(then)}`;
}

export function setTime(node, seconds, text) {
  const date = new Date(seconds * 1000);
  if (!Number.isNaN(date.getTime())) node.dateTime = date.toISOString();
  setText(node, text);
}
