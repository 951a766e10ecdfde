// A COMMAND for `--lines` in JavaScript for Node. To copy from.
//
//     loadbalancer --lines 3 -- node handler.js
//
// A line in:   ID <tab> ATTEMPT <tab> INDEX <tab> TEXT
// A line out:  ID <tab> ok   (or: retry, dead, each with <tab> REASON if you like; or: alive)

'use strict';

const readline = require('node:readline');

/** This message can never be done. */
class Never extends Error {}

/**
 * The work itself. Here a text with a `!` is none that could ever be done, and one that begins with `busy` is not
 * done at the first try.
 */
async function work(text, attempt) {
  if (text.includes('!')) throw new Never('it has a ! in it');
  if (text.startsWith('busy') && attempt === 1) throw new Error('busy');
}

/** A reason must not hold a tab or the end of a line. */
const oneLine = (error) => String(error.message).split(/\s+/).join(' ');

async function main() {
  // What a library prints with console.log is no answer.
  console.log = console.error;
  const lines = readline.createInterface({ input: process.stdin, crlfDelay: Infinity });
  // One after the other: answers come in the order of the messages. To have several in work at once, start them
  // all, and await them in that order.
  for await (const line of lines) {
    const [id, attempt, , text] = line.split('\t');
    let answer = 'ok';
    try {
      await work(text, Number(attempt));
    } catch (error) {
      answer = `${error instanceof Never ? 'dead' : 'retry'}\t${oneLine(error)}`;
    }
    // To a pipe this writes at once.
    process.stdout.write(`${id}\t${answer}\n`);
  }
  // The end of the input: nothing is left to do, so Node ends.
}

main();
