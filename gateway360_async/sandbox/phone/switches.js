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
    input.addEventListener("change", () => {
      this.#set(control, control.parse ? control.parse(input.value) : input.checked);
    });
    node.querySelector(".control-input").append(input);
    $("switches").append(node);
    this.#controls.set(control.name, { control, node, input, problem });
  }

  /** Forget what was typed and refused. */
  forget() {
    for (const { input, problem } of this.#controls.values()) {
      input.removeAttribute("aria-invalid");
      setText(problem, "");
    }
  }

  /** Show what is set. */
  show(values) {
    this.#values = values;
    const on = [];
    for (const { control, node, input, problem } of this.#controls.values()) {
      const value = values[control.name];
      if (!control.parse) input.checked = value;
      else if (input !== document.activeElement || problem.textContent === "") input.value = shown(control, value);
      const isOn = "off" in control && value !== control.off && matters(control.name, value);
      node.dataset.on = isOn;
      if (isOn) on.push(control.label);
    }
    const summary = $("fault-summary");
    summary.dataset.on = on.length > 0;
    setText(summary, on.length === 0 ? "All is well" : `${on.length} ${on.length === 1 ? "fault" : "faults"} on`);
    $("all-off").disabled = on.length === 0;
  }

  async #set({ name, label }, value) {
    const { input, problem } = this.#controls.get(name);
    try {
      // What is no number becomes null in JSON, which may mean something else.
      if (Number.isNaN(value)) throw new Error(`${label}: type a number.`);
      const { switches } = await post("/_phone/switches", { [name]: value });
      input.removeAttribute("aria-invalid");
      setText(problem, "");
      this.show(switches);
    } catch (error) {
      input.setAttribute("aria-invalid", "true");
      setText(problem, error.message);
      if (input.type === "checkbox") input.checked = this.#values[name];
    }
  }

  async #allOff() {
    const off = CONTROLS.filter((control) => "off" in control).map(({ name, off: value }) => [name, value]);
    this.forget();
    try {
      this.show((await post("/_phone/switches", Object.fromEntries(off))).switches);
      $("switch-lose_answers").focus();
    } catch (error) {
      setText($("fault-summary"), error.message);
    }
  }
}

const shown = (control, value) => (value === null || value === control.off ? "" : String(value));

// A Retry-After does nothing by itself, and an account with money is no fault.
const matters = (name, value) => !(name === "retry_after" || (name === "balance" && value > 0));
