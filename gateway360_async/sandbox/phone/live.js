// The stream of what happens in the sandbox: one "state" with everything, then an "update" with what changed.
// A connection that is lost is made again by the browser, and starts with a "state".
//
// A browser makes six connections to a host at most, whichever tabs ask, and a stream takes one for good: with
// six tabs open nothing would be answered any more. So only a page that can be seen is connected. The "state" that
// comes when it is seen again leaves nothing out.

import { $, setText } from "./dom.js";

const AGAIN_AFTER = 2000; // milliseconds, where the browser itself gives up: the answer was no stream

const LABELS = {
  connecting: "Connecting",
  live: "Live",
  lost: "Not connected, trying again",
  paused: "Paused while out of sight",
};

export class Live {
  #source = null;
  #timer = null;
  #find = "";

  constructor({ state, update }) {
    this.on = { state, update };
    document.addEventListener("visibilitychange", () => this.#connect());
  }

  /** Watch the SMS that contain this text; "" watches all. */
  watch(find) {
    this.#find = find;
    this.#connect();
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
    if (document.visibilityState === "hidden") {
      show("paused");
      return;
    }
    if ($("live").dataset.state === "paused") show("connecting");
    const query = this.#find ? `?${new URLSearchParams({ find: this.#find })}` : "";
    const source = new EventSource(`/_phone/events${query}`);
    source.addEventListener("state", (event) => {
      show("live");
      this.on.state(JSON.parse(event.data));
    });
    source.addEventListener("update", (event) => this.on.update(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      show("lost");
      if (source.readyState === EventSource.CLOSED) this.#timer = setTimeout(() => this.#connect(), AGAIN_AFTER);
    });
    this.#source = source;
  }
}

function show(state) {
  $("live").dataset.state = state;
  setText($("live-text"), LABELS[state]);
}
