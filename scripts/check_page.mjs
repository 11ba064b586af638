// Judges pages in a real browser. scripts/check_page.sh sets up what it needs and calls it.
//
// usage: node scripts/check_page.mjs FOLDER PAGE...     FOLDER has node_modules and gets the screenshots
//
// Each page is opened at the width of a phone and of a desk, light, dark and in forced colours. axe-core must find nothing;
// nothing may be wider than the window; nothing may be fetched; whatever can be operated must be reachable by keyboard;
// a link to a folded claim must unfold it. A page with planted faults is judged first: each must be found.
import { createRequire } from "node:module";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, ...pages] = process.argv.slice(2);
if (!folder || pages.length === 0) {
  console.error("usage: node scripts/check_page.mjs FOLDER PAGE...");
  process.exit(1);
}
const require = createRequire(path.resolve(folder, "node_modules", "x.js"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const VIEWS = [
  { name: "phone-light", width: 390, height: 844, colorScheme: "light" },
  { name: "phone-dark", width: 390, height: 844, colorScheme: "dark" },
  { name: "desk-light", width: 1280, height: 900, colorScheme: "light" },
  { name: "desk-dark", width: 1280, height: 900, colorScheme: "dark" },
  { name: "desk-forced", width: 1280, height: 900, colorScheme: "light", forcedColors: "active" },
];

// Every kind of fault that the judge must see, in one page.
const FAULTY = `<!doctype html><html><head><meta name="viewport" content="width=device-width"><title>t</title></head>
<body><h1>t</h1><p style="color:#aaa;background:#fff">faint</p><div style="width:2000px">wide</div>
<img src="https://example.invalid/x.png"><a href="#folded">to it</a>
<details><summary tabindex="-1">folded</summary><p id="nowhere">text</p></details></body></html>`;
const EXPECTED = ["color-contrast", "wider than", "fetches", "image-alt", "not reachable", "leads nowhere"];

/** Every fault of a page in one view. */
async function judge(browser, page, view, screenshot) {
  const found = [];
  const context = await browser.newContext({
    viewport: { width: view.width, height: view.height },
    colorScheme: view.colorScheme,
    forcedColors: view.forcedColors ?? "none",
  });
  const tab = await context.newPage();
  const url = pathToFileURL(path.resolve(page)).href;
  tab.on("request", (request) => {
    if (request.url().split("#")[0] !== url && !request.url().startsWith("data:")) {
      found.push(`fetches ${request.url()}`);
    }
  });
  await tab.goto(url, { waitUntil: "load" });
  if (screenshot) await tab.screenshot({ path: `${screenshot}.png` });

  // Folded text is judged too.
  await tab.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
  const widest = await tab.evaluate(() => document.documentElement.scrollWidth);
  if (widest > view.width) found.push(`is ${widest} px wide, wider than the window of ${view.width}`);
  await tab.evaluate(axe);
  // Colours that the reader's system forces are not the page's.
  const rules = view.forcedColors ? { "color-contrast": { enabled: false } } : {};
  const result = await tab.evaluate((rules) => window.axe.run(document, { rules }), rules);
  for (const violation of result.violations) {
    const where = violation.nodes.slice(0, 3).map((node) => node.target.join(" ")).join("; ");
    found.push(`${violation.id}: ${violation.help} (${violation.nodes.length} places: ${where})`);
  }
  if (screenshot) await tab.screenshot({ path: `${screenshot}-open.png`, fullPage: true });

  if (view.name === "desk-light") found.push(...(await byKeyboard(tab)), ...(await links(tab)));
  await context.close();
  return found;
}

/** What can be operated and is not reached by the Tab key, and folds that Enter does not open. */
async function byKeyboard(tab) {
  await tab.evaluate(() => {
    document.querySelectorAll("details").forEach((details) => (details.open = false));
    window.getSelection().removeAllRanges();
    document.activeElement?.blur();
    window.scrollTo(0, 0);
  });
  const expected = await tab.evaluate(
    () => [...document.querySelectorAll("a[href], summary")].filter((one) => one.checkVisibility()).length,
  );
  const reached = await tab.evaluate(() => {
    window.reached = new Set();
    document.addEventListener("focusin", (event) => window.reached.add(event.target), true);
    return 0;
  });
  let n = reached;
  for (let press = 0; press < expected * 2 + 10 && n < expected; press++) {
    await tab.keyboard.press("Tab");
    if (press % 25 === 24 || press > expected) {
      n = await tab.evaluate(
        () => [...window.reached].filter((one) => one.matches("a[href], summary")).length,
      );
    }
  }
  const found = n < expected ? [`${expected - n} of ${expected} links and folds are not reachable by Tab`] : [];
  const fold = tab.locator("summary").first();
  if (await fold.count()) {
    await fold.focus();
    await tab.keyboard.press("Enter");
    const open = await fold.evaluate((summary) => summary.parentElement.open);
    if (!open) found.push("Enter on a fold does not open it");
  }
  return found;
}

/** Links inside the page that lead nowhere, or to something that stays folded. */
async function links(tab) {
  const targets = await tab.evaluate(() =>
    [...new Set([...document.querySelectorAll('a[href^="#"]')].map((link) => link.getAttribute("href").slice(1)))],
  );
  const found = [];
  for (const target of targets) {
    const seen = await tab.evaluate(async (target) => {
      const place = document.getElementById(target);
      if (!place) return "nowhere";
      document.querySelectorAll("details").forEach((details) => (details.open = false));
      location.hash = "";
      location.hash = target;
      await new Promise((resolve) => setTimeout(resolve, 10));
      const folds = [];
      for (let up = place.closest("details"); up; up = up.parentElement?.closest("details")) folds.push(up);
      return folds.every((fold) => fold.open) ? "seen" : "folded";
    }, target);
    if (seen === "nowhere") found.push(`#${target} leads nowhere`);
    if (seen === "folded") found.push(`#${target} stays folded`);
  }
  return found;
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"],
});
let n_faults = 0;
try {
  const faulty = path.join(mkdtempSync(path.join(tmpdir(), "page-")), "faulty.html");
  writeFileSync(faulty, FAULTY);
  const seen = await judge(browser, faulty, VIEWS[2]);
  const missed = EXPECTED.filter((words) => !seen.some((fault) => fault.includes(words)));
  if (missed.length > 0) {
    console.error(`planted faults are not seen: ${missed.join(", ")}\nseen: ${seen.join("\n")}`);
    process.exit(70);
  }
  for (const page of pages) {
    for (const view of VIEWS) {
      const name = `${page.replace(/[^A-Za-z0-9]+/g, "-")}-${view.name}`;
      const found = await judge(browser, page, view, path.join(folder, name));
      n_faults += found.length;
      console.log(`${found.length === 0 ? "pass" : "FAIL"} ${view.name} ${page}`);
      for (const fault of found) console.log(`  ${fault}`);
    }
  }
} finally {
  await browser.close();
}
console.log(`${n_faults} faults in ${pages.length} pages, ${VIEWS.length} views each; axe-core ${require("axe-core/package.json").version}`);
process.exit(n_faults === 0 ? 0 : 100);
