// Draws each chart of the page; until it has, the static figures stand there. Expressions are interpreted, not compiled:
// the page allows no eval.
for (const asked of document.querySelectorAll(".asked")) {
  const specification = JSON.parse(asked.querySelector("script").textContent);
  const options = {ast: true, actions: false, defaultStyle: false, tooltip: {disableDefaultStyle: true}, renderer: "canvas"};
  vegaEmbed(asked.querySelector(".chart"), specification, options).then(
    () => asked.classList.add("drawn"),
    (error) => console.error(error),
  );
}
