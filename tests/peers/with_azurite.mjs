// Runs a program against two fresh Azurites: node with_azurite.mjs PROGRAM [ARG...], with AZURITE_CONNECTION_STRING set for
// the one, and for the other, which takes Bearer tokens over TLS, AZURITE_TLS_ENDPOINT, AZURITE_CA and AZURITE_TOKEN.
import { spawn } from 'node:child_process';
import { makeCertificate, startAzurite, temporaryFolder, tokenForStorage } from './lib.mjs';

const [command, ...args] = process.argv.slice(2);
if (!command) {
  console.error('usage: node with_azurite.mjs PROGRAM [ARG...]');
  process.exit(64);
}
const azurite = await startAzurite();
const folder = temporaryFolder();
const tls = await makeCertificate(folder.path, 'azurite');
const withTokens = await startAzurite({ tls });
const child = spawn(command, args, {
  stdio: 'inherit',
  env: { ...process.env, AZURITE_CONNECTION_STRING: azurite.connectionString,
    AZURITE_TLS_ENDPOINT: withTokens.endpoint, AZURITE_CA: tls.certificate, AZURITE_TOKEN: tokenForStorage(3600) },
});
const status = await new Promise((resolve) => {
  child.once('error', (error) => { console.error(error.message); resolve(1); });
  child.once('exit', (code) => resolve(code ?? 1));
});
await Promise.all([azurite.stop(), withTokens.stop()]);
folder.remove();
process.exit(status);
