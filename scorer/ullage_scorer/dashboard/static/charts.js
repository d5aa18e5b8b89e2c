// The two charts, drawn with uPlot: output against standard with the gap shaded, and the relativity as steps.
"use strict";
(() => {
  const plots = new Map();
  const language = document.documentElement.lang;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const round = (value, places) =>
    value === null || value === undefined ? "–" : value.toLocaleString(language, { maximumFractionDigits: places, minimumFractionDigits: places });

  const clock = (withSeconds) =>
    new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", ...(withSeconds && { second: "2-digit" }), hourCycle: "h23" });
  const day = new Intl.DateTimeFormat(language, { month: "short", day: "numeric" });
  const ticks = (_u, splits, _axis, _space, step) => {
    const form = step >= 86400 ? day : clock(step < 60);
    return splits.map((t) => form.format(new Date(t * 1000)));
  };

  const axes = (size, values) => {
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const common = { stroke: css("--muted"), font, ticks: { show: false } };
    return [
      { ...common, values: ticks, grid: { show: false }, space: 90, size: 28 },
      { ...common, size, values, grid: { stroke: css("--rule"), width: 1 }, space: 44 },
    ];
  };

  const hatch = (ctx, colour, gap) => {
    const tile = document.createElement("canvas");
    const side = Math.round(gap * devicePixelRatio);
    tile.width = tile.height = side;
    const pen = tile.getContext("2d");
    pen.strokeStyle = colour;
    pen.lineWidth = devicePixelRatio * 1.1;
    pen.beginPath();
    for (const shift of [-side, 0, side]) { pen.moveTo(shift - 1, side + 1); pen.lineTo(shift + side + 1, -1); }
    pen.stroke();
    return ctx.createPattern(tile, "repeat");
  };

  const clipped = (u, draw) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    draw(ctx, (t) => u.valToPos(t, "x", true), (v) => u.valToPos(v, "y", true), bbox);
    ctx.restore();
  };

  const upright = (ctx, bbox, x, colour, dash) => {
    ctx.strokeStyle = colour;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash(dash.map((d) => d * devicePixelRatio));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.setLineDash([]);
  };

  const diamond = (ctx, x, y) => {
    const r = 5 * devicePixelRatio;
    ctx.fillStyle = css("--mark");
    ctx.strokeStyle = css("--panel");
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x, y - r); ctx.lineTo(x + r, y); ctx.lineTo(x, y + r); ctx.lineTo(x - r, y);
    ctx.closePath();
    ctx.fill();
    ctx.stroke();
  };

  const readout = (box, values, places) => {
    const figure = box.closest("figure");
    for (const [name, value] of Object.entries(values)) {
      const slot = figure && figure.querySelector(`[data-read="${name}"]`);
      if (slot) slot.textContent = round(value, places);
    }
  };

  // --- output against standard -----------------------------------------------------------------------------
  const ullageData = (series) => {
    const xs = [], output = [], standard = [];
    series.start.forEach((start, i) => {
      xs.push(start, series.end[i]);
      output.push(series.rate[i], series.rate[i]);
      standard.push(series.standard, series.standard);
    });
    return [xs, output, standard];
  };

  // Neighbours of one kind are drawn as one shape, so that no seams show between them.
  const runs = (series, wanted) => {
    const found = [];
    let run = null;
    series.start.forEach((start, i) => {
      if (!wanted(series.rate[i])) { run = null; return; }
      if (run === null || series.end[run[run.length - 1]] !== start) { run = []; found.push(run); }
      run.push(i);
    });
    return found;
  };

  const drawUllage = (u, state) => clipped(u, (ctx, px, py, bbox) => {
    const s = state.series, floor = py(0);
    const shape = (run, upper, lower) => {
      ctx.beginPath();
      run.forEach((i, at) => { const y = py(upper(i)); ctx[at ? "lineTo" : "moveTo"](px(s.start[i]), y); ctx.lineTo(px(s.end[i]), y); });
      [...run].reverse().forEach((i) => { const y = py(lower(i)); ctx.lineTo(px(s.end[i]), y); ctx.lineTo(px(s.start[i]), y); });
      ctx.closePath();
    };
    const known = runs(s, (rate) => rate !== null);
    const water = ctx.createLinearGradient(0, bbox.top, 0, floor);
    water.addColorStop(0, css("--liquid-soft"));
    water.addColorStop(1, css("--liquid") + "8c");
    for (const run of known) {
      shape(run, (i) => s.rate[i], () => 0);
      ctx.fillStyle = water;
      ctx.fill();
    }
    if (s.standard !== null) {
      for (const run of runs(s, (rate) => rate !== null && rate < s.standard)) {
        shape(run, () => s.standard, (i) => s.rate[i]);
        ctx.fillStyle = css("--gap-soft");
        ctx.fill();
        ctx.fillStyle = state.hatch(ctx, css("--gap-line"));
        ctx.globalAlpha = 0.55;
        ctx.fill();
        ctx.globalAlpha = 1;
      }
    }
    ctx.globalAlpha = 0.3;
    for (const run of runs(s, (rate) => rate === null)) {
      const from = px(s.start[run[0]]), to = px(s.end[run[run.length - 1]]);
      ctx.fillStyle = state.hatch(ctx, css("--muted"));
      ctx.fillRect(from, bbox.top, to - from, bbox.height);
    }
    ctx.globalAlpha = 1;
  });

  const drawUllageMarks = (u, state) => clipped(u, (ctx, px, py, bbox) => {
    const s = state.series;
    ctx.font = `${11.5 * devicePixelRatio}px ${getComputedStyle(document.body).fontFamily}`;
    if (s.waiting !== null) {
      const x = px(s.waiting);
      upright(ctx, bbox, x, css("--ink"), [2, 3]);
      const text = state.box.dataset.waiting, wide = ctx.measureText(text).width;
      const left = x + wide + 12 * devicePixelRatio > bbox.left + bbox.width;
      ctx.fillStyle = css("--ink");
      ctx.textAlign = "left";
      ctx.textBaseline = "bottom";
      ctx.fillText(text, left ? x - wide - 6 * devicePixelRatio : x + 6 * devicePixelRatio, bbox.top + bbox.height - 8 * devicePixelRatio);
    }
    for (const t of s.marks) { upright(ctx, bbox, px(t), css("--mark") + "66", []); diamond(ctx, px(t), bbox.top + 8 * devicePixelRatio); }
  });

  const ullage = (box, series) => {
    const state = { series, box, hatch: (ctx, colour) => hatch(ctx, colour, 7) };
    const tell = (rate) => {
      const standard = state.series.standard;
      readout(state.box, { output: rate, standard, gap: rate === null || standard === null ? null : Math.max(0, standard - rate) }, 0);
    };
    const u = new uPlot({
      width: box.clientWidth, height: box.clientHeight, padding: [14, 8, 0, 0], legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: {
        x: { range: () => [state.series.from, state.series.to] },
        y: { range: (_u, _low, high) => [0, Math.max(high || 0, state.series.standard || 0, 1) * 1.14] },
      },
      axes: axes(52, (_u, splits) => splits.map((v) => round(v, 0))),
      series: [
        {},
        { stroke: () => css("--liquid"), width: 2, points: { show: false }, spanGaps: false },
        { stroke: () => css("--ink"), width: 1.5, dash: [6, 4], points: { show: false } },
      ],
      hooks: {
        drawAxes: [(self) => drawUllage(self, state)],
        draw: [(self) => drawUllageMarks(self, state)],
        setCursor: [(self) => {
          if (self.cursor.left < 0) { tell(state.series.now); return; }
          const t = self.posToVal(self.cursor.left, "x");
          const i = state.series.start.findIndex((start, k) => start <= t && t < state.series.end[k]);
          tell(i < 0 ? null : state.series.rate[i]);
        }],
      },
    }, ullageData(series), box);
    return { u, state, data: ullageData };
  };

  // --- relativity ------------------------------------------------------------------------------------------
  const relativityData = (series) => [series.time, series.indicated, series.charged];

  const relativity = (box, series) => {
    const state = { series, box };
    const last = (values) => (values.length ? values[values.length - 1] : null);
    const stepped = uPlot.paths.stepped({ align: 1 });
    const u = new uPlot({
      width: box.clientWidth, height: box.clientHeight, padding: [14, 8, 0, 0], legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: {
        x: { range: () => [state.series.from, state.series.to] },
        y: { range: (_u, low, high) => {
          const from = Math.min(1, low ?? 1), to = Math.max(1, high ?? 1), room = Math.max(0.05, (to - from) * 0.18);
          return [from - room, to + room];
        } },
      },
      axes: axes(52, (_u, splits, _a, _s, step) => splits.map((v) => round(v, step < 0.1 ? 2 : 1))),
      series: [
        {},
        { stroke: () => css("--gap-line"), width: 2, paths: stepped, points: { show: false } },
        { stroke: () => css("--liquid"), width: 3, paths: stepped, points: { show: false } },
      ],
      hooks: {
        draw: [(self) => clipped(self, (ctx, px, py, bbox) => {
          ctx.strokeStyle = css("--muted");
          ctx.lineWidth = devicePixelRatio;
          ctx.setLineDash([3 * devicePixelRatio, 4 * devicePixelRatio]);
          ctx.beginPath();
          ctx.moveTo(bbox.left, py(1)); ctx.lineTo(bbox.left + bbox.width, py(1));
          ctx.stroke();
          ctx.setLineDash([]);
          for (const t of state.series.marks) { upright(ctx, bbox, px(t), css("--mark") + "66", []); diamond(ctx, px(t), bbox.top + 8 * devicePixelRatio); }
        })],
        setCursor: [(self) => {
          const i = self.cursor.left < 0 ? null : self.cursor.idx;
          const s = state.series;
          readout(state.box, {
            indicated: i === null || i === undefined ? last(s.indicated) : s.indicated[i],
            charged: i === null || i === undefined ? last(s.charged) : s.charged[i],
          }, 3);
        }],
      },
    }, relativityData(series), box);
    return { u, state, data: relativityData };
  };

  const makers = { ullage, relativity };
  const fit = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const found = plots.get(target.id);
      if (found && found.state.box === target && contentRect.width > 0) found.u.setSize({ width: contentRect.width, height: contentRect.height });
    }
  });

  // Draws every chart under an element; a chart that was there before moves into its new place and keeps its state.
  const draw = (root) => {
    for (const box of root.querySelectorAll("[data-plot]")) {
      const series = JSON.parse(box.dataset.series);
      const found = plots.get(box.id);
      if (found && found.state.box !== box) {
        box.append(found.u.root);
        found.state.box = box;
        found.state.series = series;
        found.u.setSize({ width: box.clientWidth, height: box.clientHeight });
        found.u.setData(found.data(series));
      } else if (!found) {
        plots.set(box.id, makers[box.dataset.plot](box, series));
      }
      fit.observe(box);
    }
  };

  const redraw = () => {
    for (const [id, { u, state }] of [...plots]) {
      u.destroy();
      plots.delete(id);
      if (state.box.isConnected) plots.set(id, makers[state.box.dataset.plot](state.box, state.series));
    }
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  window.ullageCharts = { draw };
})();
