// Compiles proto/ to a JSON schema inside a TypeScript module, then src/ to dist/.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const run = (script, args) =>
  execFileSync(process.execPath, [script, ...args], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });

const protos = ['proto/criu/memory.proto', 'proto/criu/task.proto', 'proto/pagepipe/page-stream.proto'];
const json = run(require.resolve('protobufjs-cli/bin/pbjs'), ['-t', 'json', '--keep-case', ...protos]);
mkdirSync(join(root, 'src/generated'), { recursive: true });
writeFileSync(
  join(root, 'src/generated/schema.ts'),
  `// Made from proto/ by scripts/build.mjs.\nimport type { INamespace } from 'protobufjs/light.js';\n\nexport const schema: INamespace = ${json.toString().trim()};\n`,
);

rmSync(join(root, 'dist'), { recursive: true, force: true });
process.exitCode = spawnSync(join(root, 'node_modules/.bin/tsc'), [], { cwd: root, stdio: 'inherit' }).status ?? 1;
