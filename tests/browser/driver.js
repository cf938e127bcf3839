// Drives one Chromium for the tests: a JSON command a line in, a JSON answer a line out.
"use strict";
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-sync",
  "--disable-background-networking", "--disable-component-update",
  "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
];
const TIMEOUT_MS = 60000;
const SEEN = { shownTours: '["basicViewerTour"]' };

let browser, page;
const complaints = [];

const commands = {
  async open({ url }) {
    await page.goto(url, { waitUntil: "domcontentloaded" });
  },
  async click({ selector, count = 1 }) {
    await page.locator(selector).first().click({ clickCount: count });
  },
  async fill({ selector, value }) {
    await page.locator(selector).first().fill(value);
  },
  async upload({ selector, files }) {
    await page.locator(selector).first().setInputFiles(files);
  },
  async press({ key }) {
    await page.keyboard.press(key);
  },
  async drag({ selector, by }) {
    const box = await page.locator(selector).first().boundingBox();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x + by[0], y + by[1], { steps: 5 });
    await page.mouse.up();
  },
  async wheel({ selector, by }) {
    await page.locator(selector).first().hover();
    await page.mouse.wheel(0, by);
  },
  async count({ selector }) {
    return page.locator(selector).count();
  },
  async text({ selector = "body" }) {
    return page.locator(selector).first().innerText();
  },
  async evaluate({ script }) {
    return page.evaluate(script);
  },
  async shoot({ selector = null, path }) {
    const target = selector ? page.locator(selector).first() : page;
    await target.screenshot({ path });
  },
  async complaints() {
    return complaints.splice(0);
  },
};

async function start(executablePath) {
  browser = await chromium.launch({ executablePath, args: FLAGS });
  page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.setDefaultTimeout(TIMEOUT_MS);
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.addInitScript((seen) => Object.assign(localStorage, seen), SEEN);
}

async function main() {
  await start(process.argv[2]);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { command, ...options } = JSON.parse(line);
    let answer;
    try {
      answer = { value: (await commands[command](options)) ?? null };
    } catch (error) {
      answer = { error: String(error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
  await browser.close();
}

main();
