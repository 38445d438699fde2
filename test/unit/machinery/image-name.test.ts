import test from 'ava';
import { parseImageName } from '../../../kernel/machinery/image-name.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;
const names: readonly (readonly [text: string, registry: string, repository: string, tag?: string, digest?: string])[] =
  [
    ['nginx', 'docker.io', 'library/nginx', 'latest'],
    ['nginx:1.27-alpine', 'docker.io', 'library/nginx', '1.27-alpine'],
    ['team/app', 'docker.io', 'team/app', 'latest'],
    ['index.docker.io/team/app', 'docker.io', 'team/app', 'latest'],
    ['localhost/app:1', 'localhost', 'app', '1'],
    ['127.0.0.1:5000/a/b/c:v1.0_x', '127.0.0.1:5000', 'a/b/c', 'v1.0_x'],
    ['[::1]:5000/app', '[::1]:5000', 'app', 'latest'],
    ['registry.example.com/app', 'registry.example.com', 'app', 'latest'],
    [`registry.example.com/app@${digest}`, 'registry.example.com', 'app', undefined, digest],
    [`app:2@${digest}`, 'docker.io', 'library/app', '2', digest],
  ];
for (const [text, registry, repository, tag, digestOf] of names)
  test(`the image name ${text}`, (t) => {
    t.deepEqual(parseImageName(text), { registry, repository, tag, digest: digestOf });
  });

for (const text of [
  '',
  'A',
  'app:',
  ':1',
  'app@sha256:12',
  'a//b',
  '/app',
  'app name',
  'app:tag:tag',
  'http://x/y',
  '-a',
])
  test(`no image is named ${JSON.stringify(text)}`, (t) => {
    t.is(parseImageName(text), undefined);
  });
