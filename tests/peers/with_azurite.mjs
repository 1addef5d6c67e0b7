// Runs a program against a fresh Azurite: node with_azurite.mjs PROGRAM [ARG...], with AZURITE_CONNECTION_STRING set.
import { spawn } from 'node:child_process';
import { startAzurite } from './lib.mjs';

const [command, ...args] = process.argv.slice(2);
if (!command) {
  console.error('usage: node with_azurite.mjs PROGRAM [ARG...]');
  process.exit(64);
}
const azurite = await startAzurite();
const child = spawn(command, args, {
  stdio: 'inherit',
  env: { ...process.env, AZURITE_CONNECTION_STRING: azurite.connectionString },
});
const status = await new Promise((resolve) => {
  child.once('error', (error) => { console.error(error.message); resolve(1); });
  child.once('exit', (code) => resolve(code ?? 1));
});
await azurite.stop();
process.exit(status);
