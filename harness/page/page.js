"use strict";
// Draws the charts of a run when its section is opened.
function draw(section) {
  for (const place of section.querySelectorAll(".chart:not([data-drawn])")) {
    place.dataset.drawn = "yes";
    const figure = JSON.parse(document.getElementById(place.dataset.figure).textContent);
    const layout = Object.assign({ font: { family: "system-ui, sans-serif", size: 12 } }, figure.layout);
    Plotly.newPlot(place, figure.data, layout, { responsive: true, displaylogo: false });
  }
}
function openNamed() {
  const section = document.getElementById(location.hash.slice(1));
  if (section && section.matches("details.run")) {
    section.open = true;
    section.scrollIntoView();
  }
}
for (const section of document.querySelectorAll("details.run")) {
  section.addEventListener("toggle", () => section.open && draw(section));
  if (section.open) draw(section);
}
addEventListener("hashchange", openNamed);
openNamed();
