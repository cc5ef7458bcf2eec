// The log: every request and its answer, newest first.

import { $, clockTime, setText, setTime, stamp } from "./dom.js";

const OPERATIONS = { request: "Request PIN", verify: "Verify PIN" };

export class Log {
  #rows = new Map(); // by the request's id

  forget() {
    this.#remove([...this.#rows.keys()]);
  }

  /** Show a whole state. A row that is known stays as it is, opened or not: a request does not change. */
  state(state) {
    const there = new Set(state.requests.map(({ id }) => id));
    this.#remove([...this.#rows.keys()].filter((id) => !there.has(id)));
    this.#add(state);
  }

  update(update) {
    this.#remove(update.gone_requests);
    this.#add(update);
  }

  #remove(ids) {
    for (const id of ids) {
      this.#rows.get(id).remove();
      this.#rows.delete(id);
    }
  }

  #add({ requests, totals }) {
    for (const request of requests.toSorted((a, b) => a.id - b.id)) {
      if (this.#rows.has(request.id)) continue;
      const node = row(request);
      node.request = request.id;
      const older = [...$("log").children].find((other) => other.request < request.id);
      $("log").insertBefore(node, older ?? null);
      this.#rows.set(request.id, node);
    }
    setText($("request-count"), totals.requests);
    $("log-empty").hidden = this.#rows.size > 0;
    const shown = String(this.#rows.size);
    $("log-more").hidden = totals.requests === shown;
    setText($("log-more"), `The newest ${shown} of ${totals.requests} are shown`);
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
