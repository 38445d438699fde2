import test from 'ava';
import { volumeConformance } from '../../kernel/conformance/volume.ts';
import hostPath from '../../plugins/volumes/host-path/index.ts';
import type { VolumeDriver } from '../../kernel/contract/index.ts';
import { volumeBed } from '../unit/conformance/volume-bed.ts';
import { startPlugin } from '../unit/controllers/control-plane.ts';

volumeConformance(test, {
  name: 'host-path',
  capabilities: [],
  open: (t) =>
    volumeBed(
      t,
      () => startPlugin<VolumeDriver>(hostPath),
      (path) => ({ hostPath: { path, type: 'Directory' } }),
    ),
});
