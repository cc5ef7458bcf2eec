// The switches that make the sandbox fail.

import { $, element, post, setText, stamp } from "./dom.js";

// `on` says whether a value is out of the ordinary; `parse` makes the value that is sent of what was typed.
const seconds = (text) => (text.trim() === "" ? 0 : Number(text.replace(",", ".")));
const whole = (text) => (text.trim() === "" ? null : Number(text));
const text = (typed) => typed.trim();

const CONTROLS = [
  { name: "lose_answers", label: "Lose the answer", off: false,
    hint: "The SMS goes out; the connection closes without an answer." },
  { name: "throttle", label: "429 Too Many Requests", off: false, hint: "Nothing is sent." },
  { name: "fail", label: "500 Internal Server Error", off: false, hint: "Nothing is sent, without a word." },
  { name: "blocked", label: "Block the key", off: false, hint: "401 UNAUTHORIZED to every request." },
  { name: "latency", label: "Latency in seconds", off: 0, parse: seconds, mode: "decimal", empty: "0",
    hint: "Waited before each answer." },
  { name: "retry_after", label: "Retry-After in seconds", off: null, parse: whole, mode: "numeric", empty: "none",
    hint: "Comes with each 429." },
  { name: "balance", label: "Balance in SMS", off: null, parse: whole, mode: "numeric", empty: "no end",
    hint: "0 is an empty account: NOT_ENOUGH_BALANCE." },
  { name: "hlr_fail_prefix", label: "HLR lookup fails for", parse: text, mode: "tel", empty: "prefix",
    hint: "Numbers with this prefix: INVALID_NUMBER." },
];

export class Switches {
  #controls = new Map();
  #values = {};
  #order = 0; // of the newest that is shown
  #sent = Promise.resolve(); // ends with the last change that was sent

  constructor() {
    for (const control of CONTROLS) this.#add(control);
    $("switches").addEventListener("submit", (event) => event.preventDefault());
    $("all-off").addEventListener("click", () => this.#allOff());
  }

  #add(control) {
    const node = stamp("switch-template");
    const [label, hint, problem] = [".control-name", ".hint", ".problem"].map((name) => node.querySelector(name));
    const input = element("input");
    Object.assign(input, { id: `switch-${control.name}`, name: control.name, autocomplete: "off" });
    if (control.parse) {
      Object.assign(input, { type: "text", inputMode: control.mode, placeholder: control.empty, maxLength: 20 });
    } else {
      input.type = "checkbox";
      input.setAttribute("role", "switch");
    }
    setText(label, control.label);
    setText(hint, control.hint);
    label.htmlFor = input.id;
    hint.id = `${input.id}-hint`;
    problem.id = `${input.id}-problem`;
    input.setAttribute("aria-describedby", `${hint.id} ${problem.id}`);
    const entry = { control, node, input, problem, typing: false, change: null };
    input.addEventListener("input", () => { entry.typing = Boolean(control.parse); });
    input.addEventListener("change", () => {
      this.#set(entry, control.parse ? control.parse(input.value) : input.checked);
    });
    // What was typed and taken back is no change: the browser tells of none.
    input.addEventListener("blur", () => {
      entry.typing = false;
      this.#write(entry);
    });
    node.querySelector(".control-input").append(input);
    $("switches").append(node);
    this.#controls.set(control.name, entry);
  }

  /** Another sandbox: it counts from the beginning, and nothing that was typed is for it. */
  forget() {
    this.#order = 0;
    this.#forgetTyped();
  }

  #forgetTyped() {
    for (const entry of this.#controls.values()) {
      entry.typing = false;
      entry.input.removeAttribute("aria-invalid");
      setText(entry.problem, "");
    }
  }

  /** Show what is set. The stream and the answer to a change are two connections: the older may come last. */
  show({ switches: values, switches_order: order }) {
    if (order > this.#order) [this.#values, this.#order] = [values, order];
    this.#draw();
  }

  #draw() {
    const values = this.#values;
    const on = [];
    for (const entry of this.#controls.values()) {
      const { control, node } = entry;
      const value = values[control.name];
      this.#write(entry);
      const isOn = "off" in control && value !== control.off && matters(control.name, value);
      node.dataset.on = isOn;
      if (isOn) on.push(control.label);
    }
    const summary = $("fault-summary");
    summary.dataset.on = on.length > 0;
    setText(summary, on.length === 0 ? "All is well" : `${on.length} ${on.length === 1 ? "fault" : "faults"} on`);
    $("all-off").disabled = on.length === 0;
  }

  /** Write a control's value, unless the person is ahead of it: types, waits for an answer, or was refused. */
  #write({ control, input, problem, typing, change }) {
    const { name, parse } = control;
    if (typing || change || (parse && problem.textContent !== "") || !(name in this.#values)) return;
    if (parse) input.value = shown(control, this.#values[name]);
    else input.checked = this.#values[name];
  }

  /** Send changes when those before have their answer: on two connections, they could arrive the other way. */
  #send(changes) {
    const answer = this.#sent.then(() => post("/_phone/switches", changes));
    this.#sent = answer.catch(() => {});
    return answer;
  }

  async #set(entry, value) {
    const { control } = entry;
    const change = { [control.name]: value };
    entry.typing = false;
    entry.change = change;
    let answer;
    let problem = "";
    try {
      // What is no number becomes null in JSON, which may mean something else.
      if (Number.isNaN(value)) throw new Error(`${control.label}: type a number.`);
      answer = await this.#send(change);
    } catch (error) {
      problem = error.message;
    }
    if (entry.change === change) { // and no newer one speaks for the control
      entry.change = null;
      if (problem) entry.input.setAttribute("aria-invalid", "true");
      else entry.input.removeAttribute("aria-invalid");
      setText(entry.problem, problem);
    }
    if (answer) this.show(answer);
    else this.#write(entry);
  }

  async #allOff() {
    const off = CONTROLS.filter((control) => "off" in control).map(({ name, off: value }) => [name, value]);
    this.#forgetTyped();
    try {
      this.show(await this.#send(Object.fromEntries(off)));
      $("switch-lose_answers").focus();
    } catch (error) {
      setText($("fault-summary"), error.message);
    }
  }
}

const shown = (control, value) => (value === null || value === control.off ? "" : String(value));

// A Retry-After does nothing by itself, and an account with money is no fault.
const matters = (name, value) => !(name === "retry_after" || (name === "balance" && value > 0));
