/** Builds the page's elements. Text becomes text, never markup. */

const PATHS = {
  back: "M15 5l-7 7 7 7",
  chevron: "M9 5l7 7-7 7",
  close: "M6 6l12 12M18 6L6 18",
  check: "M5 12.5l4.5 4.5L19 7.5",
  clock: "M12 7v5l3 2M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
  broken: "M9 15l-2 2a3.5 3.5 0 0 1-5-5l2-2M15 9l2-2a3.5 3.5 0 0 1 5 5l-2 2M4 4l16 16",
  link: "M10.5 13.5l3-3M11.5 8.500l1.2-1.200a3.5 3.5 0 0 1 5 5l-1.2 1.200M12.5 15.500l-1.2 1.200a3.5 3.5 0 0 1-5-5l1.2-1.2",
  flask: "M9 3h6M10 3v6l-5.5 9.500A1.5 1.5 0 0 0 5.8 21h12.400a1.5 1.5 0 0 0 1.3-2.500L14 9V3",
  pause: "M9 6v12M15 6v12",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM16 16l4.5 4.5",
};

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child));
  return made;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const attributes = {
    viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "2",
    "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true",
  };
  for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, value);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

export function tile(tool, size = "") {
  const made = element("span", { class: `tile ${size}`.trim(), "aria-hidden": "true" }, tool.initials);
  made.style.backgroundColor = tool.colour;
  return made;
}
