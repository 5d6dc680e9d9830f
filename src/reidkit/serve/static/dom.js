// Elements by hand. Text is always text: nothing that a client or a camera says is read as markup.

export const $ = (id) => document.getElementById(id);

/** Make an element: properties, `aria-` and `data-` attributes, listeners (`onclick`), and children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A picture, or a grey box that says so where there is none. */
export function picture(url, words) {
  const missing = () => h("div", { className: "missing", role: "img", "aria-label": `${words}. No picture.` }, "No picture");
  if (!url) return missing();
  const image = h("img", { src: url, alt: words, loading: "lazy", width: 128, height: 192 });
  image.addEventListener("error", () => image.replaceWith(missing()));
  return image;
}
