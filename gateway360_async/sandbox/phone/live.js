// The stream of what happens in the sandbox: one "state" with everything, then an "update" with what changed.
// A connection that is lost is made again by the browser, and starts with a "state".

import { $, setText } from "./dom.js";

const AGAIN_AFTER = 2000; // milliseconds, where the browser itself gives up: the answer was no stream

const LABELS = { connecting: "Connecting", live: "Live", lost: "Not connected, trying again" };

export class Live {
  #source = null;
  #timer = null;
  #number = "";

  constructor({ state, update }) {
    this.on = { state, update };
  }

  /** Watch the SMS to numbers that contain these digits; "" watches all. */
  watch(number) {
    this.#number = number;
    clearTimeout(this.#timer);
    this.#source?.close();
    const query = number ? `?${new URLSearchParams({ number })}` : "";
    const source = new EventSource(`/_phone/events${query}`);
    source.addEventListener("state", (event) => {
      show("live");
      this.on.state(JSON.parse(event.data));
    });
    source.addEventListener("update", (event) => this.on.update(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      show("lost");
      if (source.readyState === EventSource.CLOSED) {
        this.#timer = setTimeout(() => this.watch(this.#number), AGAIN_AFTER);
      }
    });
    this.#source = source;
  }

  close() {
    clearTimeout(this.#timer);
    this.#source?.close();
  }
}

function show(state) {
  $("live").dataset.state = state;
  setText($("live-text"), LABELS[state]);
}
