// Sets the level. The token is read from its field when it is needed and kept nowhere else.

const described = ({ level, percent }) => `level ${level}${percent === undefined ? "" : ` for ${percent} % of the clients`}`;

export class Steering {
  #form;
  #said;
  #touched = false;
  /** What a button asked for before there was a token. */
  #waiting = null;

  constructor(form, said) {
    this.#form = form;
    this.#said = said;
    form.addEventListener("change", ({ target }) => {
      if (target === form.elements.token) return;
      this.#touched = true;
      this.#waiting = null;
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(this.#waiting ?? this.#chosen());
    });
  }

  /** Shows the level in force, unless somebody is choosing another. */
  show(stats) {
    if (!this.#touched) this.#form.elements.level.value = stats.performance_optimizer?.optimization_level ?? "";
    if (this.#waiting && stats.canary?.candidate?.level !== this.#waiting.level) {
      this.#waiting = null;
      this.#say("Not set: that candidate does not run any more.", "failed");
    }
  }

  /** Changes the running candidate: with the token that is there, or as soon as one is typed in. */
  steer(change) {
    if (this.#form.elements.token.value === "") {
      this.#waiting = change;
      this.#say(`Type the admin token, then Enter sets ${described(change)}.`, "waiting");
      this.#form.elements.token.focus();
      return;
    }
    this.#send(change);
  }

  #chosen() {
    const { level, percent } = this.#form.elements;
    return percent.value === "" ? { level: level.value } : { level: level.value, percent: Number(percent.value) };
  }

  async #send(change) {
    const token = this.#form.elements.token;
    this.#waiting = null;
    this.#say("…", "waiting");
    try {
      const answer = await fetch("/admin/optimization", {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${token.value}` },
        body: JSON.stringify(change),
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
      const body = await answer.json();
      if (!answer.ok) {
        this.#say(`Not set: ${body.detail ?? answer.statusText}`, "failed");
        return;
      }
      this.#touched = false;
      this.#say(`Set: ${described(change)}.`, "done");
    } catch (error) {
      this.#say(`Not set: ${error.message}`, "failed");
    }
  }

  #say(text, state) {
    this.#said.textContent = text;
    this.#said.dataset.state = state;
  }
}
