// The styles of the list. System colours and `light-dark()` follow the page's `color-scheme`; the page's custom properties
// replace them. A browser without `light-dark()` shows the text in the page's colour. The layout depends on the element's own
// width, not on the page's. Its own properties have names of their own: a page that writes `--kombo-line: var(--line)` on the
// element would make a cycle with a `--line` of the element's.

export const CSS = `:host{display:block;container-type:inline-size;
--_muted:var(--kombo-muted,color-mix(in srgb,CanvasText 68%,Canvas));
--_line:var(--kombo-line,rgb(127 127 127/30%));
--_surface:var(--kombo-surface,Canvas);
--_accent:var(--kombo-accent,light-dark(#1a56c4,#8ab4ff));
--_good:var(--kombo-good,light-dark(#14602f,#86dba4));
--_good-surface:var(--kombo-good-surface,light-dark(#e3f2e7,#163822));
--_warn:var(--kombo-warn,light-dark(#84400a,#f4ba77));
--_warn-surface:var(--kombo-warn-surface,light-dark(#fdeed6,#3c2a10));
--_danger:var(--kombo-danger,light-dark(#b3261e,#ffb4ab));
--_radius:var(--kombo-radius,.5rem)}
:host([hidden]),[hidden]{display:none!important}
*{box-sizing:border-box}
p,ul,dl,dd,h2{margin:0;padding:0}
ul{list-style:none}
button,input{font:inherit;color:inherit}
button{min-height:2.75rem;padding:.25rem 1rem;border:1px solid var(--_line);border-radius:var(--_radius);background:none;font-weight:600;cursor:pointer}
button:not([part=confirm]):hover{background:rgb(127 127 127/12%)}
button[aria-disabled=true]{opacity:.6;cursor:progress}
:focus-visible{outline:2px solid var(--_accent);outline-offset:2px}
[part=header]{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center}
[part=search]{flex:1 1 12rem;max-width:24rem;min-height:2.75rem;margin-inline-start:auto;padding:.25rem .75rem;border:1px solid gray;border-radius:var(--_radius);background:none}
[part=attention],[part=status]{padding:.125rem .625rem;border-radius:1rem;background:rgb(127 127 127/14%);font-size:.875em;font-weight:600}
[part=attention],[data-tone=warn]{background:var(--_warn-surface);color:var(--_warn)}
[data-tone=good]{background:var(--_good-surface);color:var(--_good)}
[part=notice]{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;padding:.5rem 0;color:var(--_muted)}
[part=notice][role=alert]{color:var(--_warn)}
[part=row]{display:grid;grid-template-columns:auto minmax(0,1fr) auto auto;gap:.25rem .75rem;align-items:center;padding:.75rem 0}
[part=row]+[part=row]{border-block-start:1px solid var(--_line)}
[part=side]{display:flex;flex-wrap:wrap;gap:.5rem .75rem;align-items:center}
[part=logo]{display:grid;place-items:center;width:2.75rem;height:2.75rem;border-radius:.75rem;object-fit:contain;color:#fff;font-weight:600}
[part=text]{min-width:0;overflow-wrap:anywhere}
[part=name]{font-weight:600}
[part=meta]{display:flex;flex-wrap:wrap;gap:0 1em;color:var(--_muted);font-size:.875em}
[part=advice]{font-size:.875em}
[part=error]{color:var(--_danger);font-size:.875em}
[part=error]:empty{display:none}
[part=menu-button]{width:2.75rem;padding:0;border-color:transparent;font-size:1.25rem;line-height:1}
[part=details]{grid-column:2/-1;display:grid;grid-template-columns:auto minmax(0,1fr);gap:.25rem 1rem;padding-block:.25rem .5rem;font-size:.875em;overflow-wrap:anywhere}
dt{color:var(--_muted)}
[part=menu]{position:fixed;inset:auto;z-index:1;min-width:11rem;margin:0;padding:.25rem;border:1px solid var(--_line);border-radius:var(--_radius);background:var(--_surface);color:CanvasText;box-shadow:0 6px 24px rgb(0 0 0/18%)}
[part=menu] button{display:block;width:100%;border:0;text-align:start;font-weight:400}
[part~=disconnect]{color:var(--_danger)}
[part=dialog]{width:min(26rem,calc(100% - 2rem));padding:1.5rem;border:1px solid var(--_line);border-radius:1rem;background:var(--_surface);color:CanvasText;overflow-wrap:anywhere}
[part=dialog]::backdrop{background:rgb(0 0 0/45%)}
[part=dialog] h2{font-size:1.125em}
[part=dialog] p{margin-block:.5rem 0}
[part=buttons]{display:flex;flex-wrap:wrap;justify-content:end;gap:.5rem;margin-block-start:1.25rem}
[part=confirm]{border-color:var(--_danger);background:var(--_danger);color:var(--_surface)}
[part=live]{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
[part=loading]{height:11.25rem;text-indent:-99rem;overflow:hidden;background:repeating-linear-gradient(rgb(127 127 127/14%) 0 2.75rem,#0000 0 4.25rem)}
@container(width<36rem){
[part=row]{grid-template-columns:auto minmax(0,1fr) auto;align-items:start}
[part=menu-button]{grid-area:1/3}
[part=side]{grid-column:2/-1}
[part=search]{max-width:none}
}
@media(forced-colors:active){[part=status],[part=attention]{border:1px solid}[part=confirm]{color:ButtonText}}`;
