// What the App's server cannot have the browser do from Python (FiftyOne 1.22.1): the player of whole videos does not
// listen to the operator set_frame_number, open_sample shows fields and colours as they were when the page was loaded,
// nothing opens a page, and colours are read only when a dataset is opened, which closes its panels.
(function () {
  const { Operator, OperatorConfig, registerOperator } = window.__foo__;
  const { colorScheme, isModalActive, modalLooker } = window.__fos__;
  const { useSetExpandedSample, useSetModalState, useSetSessionColorScheme } = window.__fos__;
  const { useRecoilCallback } = window.recoil;
  const EVERY = 200; // milliseconds from one look to the next
  const TRIES = 75; // a video may take a while until it is there
  const STAYS = 4; // looks in a row that find it at the frame

  class JumpToFrame extends Operator {
    get config() {
      return new OperatorConfig({ name: "jump_to_frame", label: "SPAM: jump to frame", unlisted: true });
    }

    useHooks() {
      const player = useRecoilCallback(
        ({ snapshot }) =>
          () =>
            snapshot.getLoadable(modalLooker).valueMaybe(),
        []
      );
      return { player };
    }

    async execute({ hooks, params }) {
      // A sample that was just opened has no player at first, then one that starts at the first frame once more.
      for (let tries = 0, there = 0; tries < TRIES && there < STAYS; tries++) {
        const player = hooks.player();
        const state = player && player.state;
        if (state && state.loaded && player.seekToFrame && state.config.sampleId === params.sample) {
          there = state.frameNumber === params.frame ? there + 1 : 0;
          if (!there) player.seekToFrame(params.frame);
        }
        await new Promise((resolve) => setTimeout(resolve, EVERY));
      }
    }
  }

  class ShowSample extends Operator {
    get config() {
      return new OperatorConfig({ name: "show_sample", label: "SPAM: show a sample", unlisted: true });
    }

    useHooks() {
      const isOpen = useRecoilCallback(
        ({ snapshot }) =>
          () =>
            snapshot.getLoadable(isModalActive).valueMaybe(),
        []
      );
      return { isOpen, takeOver: useSetModalState(), open: useSetExpandedSample() };
    }

    async execute({ hooks, params }) {
      if (!hooks.isOpen()) await hooks.takeOver(); // fields, filters and colours of the grid, as a click on a tile does
      await hooks.open({ id: params.id });
    }
  }

  class OpenLink extends Operator {
    get config() {
      return new OperatorConfig({ name: "open_link", label: "SPAM: open a page", unlisted: true });
    }

    async execute({ params }) {
      if (/^https?:\/\//.test(params.url)) window.open(params.url, "_blank", "noopener");
    }
  }

  class SetColours extends Operator {
    get config() {
      return new OperatorConfig({ name: "set_colours", label: "SPAM: set colours", unlisted: true });
    }

    useHooks() {
      const now = useRecoilCallback(
        ({ snapshot }) =>
          () =>
            snapshot.getLoadable(colorScheme).valueMaybe(),
        []
      );
      return { now, set: useSetSessionColorScheme() };
    }

    async execute({ hooks, params }) {
      hooks.set({ ...hooks.now(), colorBy: params.by, colorPool: params.pool });
    }
  }

  registerOperator(JumpToFrame, "@spam-plugin/spam");
  registerOperator(OpenLink, "@spam-plugin/spam");
  registerOperator(SetColours, "@spam-plugin/spam");
  registerOperator(ShowSample, "@spam-plugin/spam");
})();
