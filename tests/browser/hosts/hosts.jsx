// Pages whose own dialog contains the button: one of each library, chosen by the query.
import { Dialog as HeadlessDialog, DialogPanel } from "@headlessui/react";
import MuiDialog from "@mui/material/Dialog";
import * as Radix from "@radix-ui/react-dialog";
import { createElement as h, useState } from "react";
import { createRoot } from "react-dom/client";

const button = () => h("kombo-connect-button", { tool: "personio", label: "Connect Personio" });
const field = () => h("input", { "aria-label": "A field of the host" });

const HOSTS = {
  radix: ({ open, close }) =>
    h(
      Radix.Root,
      { open, onOpenChange: (still) => still || close() },
      h(
        Radix.Portal,
        {},
        h(Radix.Overlay, {}),
        h(
          Radix.Content,
          { "aria-describedby": undefined, style: { position: "fixed", inset: "20% 20% auto", transform: "translate(0, 1px)" } },
          ...[h(Radix.Title, {}, "Settings"), field(), button()],
        ),
      ),
    ),
  mui: ({ open, close }) => h(MuiDialog, { open, onClose: close }, field(), button()),
  headless: ({ open, close }) =>
    h(HeadlessDialog, { open, onClose: close }, h(DialogPanel, {}, field(), button())),
};

function Page({ host: Host }) {
  const [open, setOpen] = useState(true);
  return h("main", {}, h("output", {}, open ? "open" : "closed"), h(Host, { open, close: () => setOpen(false) }));
}

const name = new URLSearchParams(location.search).get("host");
createRoot(document.getElementById("root")).render(h(Page, { host: HOSTS[name] }));
