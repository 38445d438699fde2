export * from './enter-lab.ts';
export * from './lab-messages.ts';
export * from './lab-plan.ts';
export * from './process-identity.ts';
export { underlayBridge } from './build-network.ts';
export { runLab } from './run-lab.ts';
