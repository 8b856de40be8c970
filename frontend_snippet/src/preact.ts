// The types of the elements in Preact's JSX: `import "kombo-embed/preact"`. There is nothing to run.
import type { JSX } from "preact";
import type { KomboElements } from "./element-attributes.js";

type JsxElements = {
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- older versions have no other name for it
  [Name in keyof KomboElements]: JSX.HTMLAttributes<KomboElements[Name]["element"]> &
    KomboElements[Name]["attributes"];
};

declare module "preact" {
  // eslint-disable-next-line @typescript-eslint/no-namespace -- Preact's own types name it so
  namespace JSX {
    interface IntrinsicElements extends JsxElements {}
  }
}
