// The login page needs no script; its footer does.
import { readContext } from "./context.js";
import { showFooter } from "./footer.js";

showFooter(readContext());
