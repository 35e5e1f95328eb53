// Sets the level. The token is read from its field when it is needed and kept nowhere else.

export class Steering {
  #form;
  #said;
  #touched = false;

  constructor(form, said) {
    this.#form = form;
    this.#said = said;
    form.addEventListener("change", () => (this.#touched = true));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const level = form.elements.level.value;
      const share = form.elements.percent.value;
      this.send(share === "" ? { level } : { level, percent: Number(share) });
    });
  }

  /** Shows the level in force, unless somebody is choosing another. */
  show(stats) {
    if (!this.#touched) this.#form.elements.level.value = stats.performance_optimizer?.optimization_level ?? "";
  }

  async send(change) {
    const token = this.#form.elements.token;
    if (!token.reportValidity()) return;
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
      const share = change.percent === undefined ? "" : ` for ${change.percent} % of the clients`;
      this.#say(`Set: level ${change.level}${share}.`, "done");
    } catch (error) {
      this.#say(`Not set: ${error.message}`, "failed");
    }
  }

  #say(text, state) {
    this.#said.textContent = text;
    this.#said.dataset.state = state;
  }
}
