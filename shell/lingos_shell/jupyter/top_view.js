// Draws what the kernel renders, and sends back the buttons that are pressed.
function render({ model, el }) {
  const draw = () => {
    const focused = document.activeElement?.dataset;
    el.innerHTML = model.get("markup");
    if (focused?.pid && el.isConnected) {
      el.querySelector(`[data-pid="${focused.pid}"][data-action="${focused.action}"]`)?.focus();
    }
  };
  const press = (event) => {
    const button = event.target.closest("button[data-action]");
    if (button) {
      model.send({ action: button.dataset.action, pid: Number(button.dataset.pid) });
    }
  };
  draw();
  model.on("change:markup", draw);
  el.addEventListener("click", press);
  const view = crypto.randomUUID?.() ?? String(Math.random());
  const tell = (isOpen) => model.send({ view, is_open: isOpen });
  tell(true);
  const timer = setInterval(() => tell(true), 5000);
  return () => {
    clearInterval(timer);
    model.off("change:markup", draw);
    tell(false);
  };
}
export default { render };
