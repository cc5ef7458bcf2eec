// The inbox: the newest SMS first, in groups of a minute each.

import { $, announce, clockMinute, groupTitle, post, setText, setTime, stamp } from "./dom.js";
import { Sms, announceSms } from "./sms.js";

export class Inbox {
  #sms = new Map(); // by the message's id
  #groups = new Map(); // the groups' lists, by the minute
  #offset = 0; // seconds that the sandbox's clock is ahead of the browser's

  constructor() {
    $("messages").replaceChildren(); // the server drew them, for a page without JavaScript
    $("clear").addEventListener("click", () => this.#ask("clear", "All cleared", true));
    $("undo").addEventListener("click", () => this.#ask("undo-clear", "All are back", false));
    setInterval(() => this.tick(), 1000);
  }

  async #ask(path, said, undoable) {
    try {
      await post(`/_phone/${path}`, {});
      $("undo").hidden = !undoable;
      $("clear").hidden = undoable;
      announce(said);
      $(undoable ? "undo" : "search").focus();
    } catch (error) {
      announce(error.message);
    }
  }

  forget() {
    for (const id of [...this.#sms.keys()]) this.#remove(id);
    $("undo").hidden = true;
    $("clear").hidden = false;
  }

  /** Show a whole state. `find` is the text that is searched for. */
  state(state, find) {
    const there = new Set(state.messages.map(({ id }) => id));
    for (const id of [...this.#sms.keys()]) if (!there.has(id)) this.#remove(id);
    this.#show(state, find);
    setText($("found"), find ? `${state.totals.messages} SMS found` : "");
  }

  /** Take in what has changed. */
  update(update, find) {
    for (const id of update.gone_messages) this.#remove(id);
    const fresh = this.#show(update, find);
    if (fresh.length) {
      $("undo").hidden = true;
      $("clear").hidden = false;
      announceSms(fresh.map(({ message }) => message));
    }
  }

  #show({ now, messages, totals }, find) {
    this.#offset = now - Date.now() / 1000;
    const fresh = [];
    for (const message of messages.toSorted((a, b) => a.id - b.id)) {
      const known = this.#sms.get(message.id);
      if (known) {
        known.update(message);
        known.tick(now);
      } else {
        const sms = new Sms(message);
        sms.tick(now);
        this.#insert(sms, now);
        fresh.push(sms);
      }
    }
    this.#totals(totals, find);
    setText($("clock"), clockMinute(now));
    return fresh;
  }

  #insert(sms, now) {
    const { id, sent_at: at } = sms.message;
    const minute = Math.floor(at / 60);
    let list = this.#groups.get(minute);
    if (!list) {
      const node = stamp("group-template");
      setTime(node.querySelector("time"), minute * 60, groupTitle(minute * 60, now));
      list = node.querySelector("ol");
      list.minute = minute;
      this.#groups.set(minute, list);
      const older = [...$("messages").children].find((other) => other.querySelector("ol").minute < minute);
      $("messages").insertBefore(node, older ?? null);
    }
    const older = [...list.children].find((other) => other.message < id); // the first, nearly always
    sms.node.message = id;
    list.insertBefore(sms.node, older ?? null);
    this.#sms.set(id, sms);
  }

  #remove(id) {
    const { node } = this.#sms.get(id);
    const list = node.parentElement;
    node.remove();
    this.#sms.delete(id);
    if (list.children.length === 0) {
      list.parentElement.remove();
      this.#groups.delete(list.minute);
    }
  }

  #totals({ messages, badge }, find) {
    const shown = this.#sms.size;
    setText($("message-count"), badge);
    document.title = `${messages ? `(${badge}) ` : ""}Sandbox phone · gateway360`;
    $("empty").hidden = shown > 0;
    setText($("empty-title"), find ? "Nothing found" : "No SMS yet");
    $("empty-hint").hidden = $("empty-how").hidden = Boolean(find);
    $("more-exist").hidden = shown >= messages;
    setText($("more-exist"), `The newest ${shown} of ${badge} are shown: search for the others`);
  }

  /** Count down. */
  tick() {
    const now = Date.now() / 1000 + this.#offset;
    for (const sms of this.#sms.values()) sms.tick(now);
    setText($("clock"), clockMinute(now));
  }
}
