// The log: every request and its answer, newest first.

import { $, arrange, clockTime, setText, setTime, stamp } from "./dom.js";

const OPERATIONS = { request: "Request PIN", verify: "Verify PIN" };

export class Log {
  #rows = new Map(); // by the request's id

  forget() {
    this.#rows.clear();
  }

  /** Show a whole state. A row that is known stays as it is, opened or not: a request does not change. */
  state(state) {
    const known = this.#rows;
    this.#rows = new Map();
    this.#add(state, known);
  }

  update(update) {
    for (const id of update.gone_requests) this.#rows.delete(id);
    this.#add(update);
  }

  #add({ requests, totals }, known = new Map()) {
    for (const request of requests) this.#rows.set(request.id, known.get(request.id) ?? row(request));
    const newestFirst = [...this.#rows.keys()].sort((a, b) => b - a);
    arrange($("log"), newestFirst.map((id) => this.#rows.get(id)));
    setText($("request-count"), String(totals.requests));
    $("log-empty").hidden = this.#rows.size > 0;
  }
}

function row(request) {
  const node = stamp("request-template");
  const find = (selector) => node.querySelector(selector);
  const lost = request.fault === "lose";
  find("details").dataset.kind = kind(request);
  setText(find(".http"), lost ? "lost" : String(request.http_status));
  setText(find(".what"), `${OPERATIONS[request.operation]}: ${request.outcome}`);
  setText(find(".whom"), request.msisdn);
  setTime(find("time"), request.at, clockTime(request.at));
  setText(find(".asked"), request.asked);
  setText(find(".answered"), request.answered);
  return node;
}

function kind({ fault, http_status, ok }) {
  if (fault === "lose" || http_status >= 500) return "failed";
  return ok ? "taken" : "refused";
}
