// Shows what the server of `label` says, and tells it what was pressed. `page.py` sets token and model.

const by = id => document.getElementById(id);
const percent = share => share > 0.995 ? '>99 %' : Math.round(100 * share) + ' %';
const labels = [...document.querySelectorAll('[data-label]')];
let place = null;  // of the photograph that is shown
let missed = false;  // whether something was pressed meanwhile
let busy = true;  // until what was pressed is answered and the next photograph can be seen
let turn = 0;  // counts what was pressed: what was asked before it is out of date
let timer = null;

async function fetched(path, body) {
  const sent = body === undefined ? {} : {
    method: 'POST',
    body: JSON.stringify(body),
    headers: {'content-type': 'application/json', 'x-bloodkeras-token': token},
  };
  const reply = await fetch(path, sent);
  return [reply.ok, await reply.json()];
}

function setBusy(now) {
  busy = now;
  if (!now && missed) say('Too quick: the last press was not taken, for this cell was not shown yet.');
  missed = false;
  document.body.setAttribute('aria-busy', now);
}

async function act(path, body) {
  if (busy) {
    missed = true;
    return;
  }
  setBusy(true);
  turn += 1;
  try {
    const [ok, found] = await fetched(path, body);
    if (ok) {
      say(path === 'answer' ? found.last.name + ': ' + found.last.label :
          path === 'undo' ? 'Taken back.' : '');
      await show(found);
    } else {
      say(found.error, true);
      await show((await fetched('state'))[1]);
    }
  } catch (error) {
    gone();
  }
  setBusy(false);
}

async function look() {
  const asked = turn;
  try {
    const [ok, found] = await fetched('state');
    if (asked !== turn) return wait();  // what was pressed meanwhile has shown more
    if (ok) await show(found);
    if (asked === turn) setBusy(false);
  } catch (error) {
    gone();
  }
}

function wait() {
  clearTimeout(timer);
  timer = setTimeout(look, 1000);
}

function gone() {
  say('label does not answer, perhaps it was stopped. Every answer that it took is in the table: ' +
      'start it again, and reload this page.', true);
}

function say(text, wrong) {
  by('status').textContent = text;
  by('status').classList.toggle('wrong', Boolean(wrong));
}

async function show(found) {
  const cell = found.cell, reading = found.reading, all = reading.done >= reading.total;
  by('left').textContent = found.left.toLocaleString('en') + ' left' + (all ? '' : ', ' +
    reading.done.toLocaleString('en') + ' of ' + reading.total.toLocaleString('en') +
    ' looked at by ' + model);
  by('errors').textContent = reading.failure || (reading.unreadable ? reading.unreadable +
    ' cannot be asked about: ' + reading.errors.join('; ') : '');
  for (const button of labels) {
    const name = button.dataset.label, count = found.counts[name], share = cell?.believed[name];
    const counted = button.querySelector('.count'), believed = button.querySelector('i.believed');
    counted.textContent = count || believed ? count : '';
    counted.classList.toggle('none', Boolean(believed) && !count);
    if (!believed) continue;
    believed.textContent = !cell ? '' : share === undefined ? 'new' : percent(share);
    button.style.setProperty('--share', 100 * (share || 0) + '%');
  }
  by('undo').disabled = !found.last;
  showCalibration(found.calibration, found.missing, found.advice);
  clearTimeout(timer);
  if (!all || found.calibration.status === 'running') wait();
  await showCell(cell, found.next, all);
}

async function showCell(cell, next, all) {
  for (const button of labels) button.disabled = !cell;
  by('photo').hidden = !cell;
  if (!cell) {
    place = null;
    by('verdict').textContent = '';
    by('name').textContent = all ? 'Nothing is left to label.' :
      'The first photographs are being looked at: a moment.';
    return;
  }
  const top = Object.entries(cell.believed).sort((one, other) => other[1] - one[1])[0][0];
  by('verdict').textContent = model + ' believes: ' +
    (cell.verdict === 'foreign' ? 'foreign, nearest ' + top : top + ', ' + cell.verdict);
  by('name').textContent = cell.name;
  if (cell.place !== place) {
    by('photo').src = 'photo/' + cell.place;
    place = cell.place;
    try {
      await by('photo').decode();
    } catch (error) {
      say(cell.name + ' cannot be shown: skip it.', true);
    }
  }
  for (const other of next) new Image().src = 'photo/' + other;
}

function showCalibration(made, missing, advice) {
  const running = made.status === 'running', done = made.status === 'done';
  by('calibrate').disabled = running || missing > 0;
  by('enough').textContent = running ? 'calibrating: half a minute or so ...' :
    missing > 0 ? missing + ' more cells of its classes are needed' : advice;
  by('made').hidden = !done && made.status !== 'failed';
  by('result').classList.toggle('warn', !done);
  by('text').hidden = !done;
  if (!done) {
    by('result').textContent = made.error || '';
    return;
  }
  const left = Object.entries(made.left_out).map(([name, count]) => count + ' ' + name).join(', ');
  by('result').textContent = 'Right in ' + percent(made.accuracy) + ' of ' + made.cells +
    ' cells that the fit had not seen; before in ' + percent(made.accuracy_before) + '. ' +
    (random ? '' : 'These are the hard ones: of all cells it is right in more, and calls too many ' +
    'unsure; label others with --random, and calibrate once more (docs/label.md). ') +
    'The new export is ' + made.export + '.' +
    (left && ' Left out, for ' + model + ' does not know them: ' + left + '.');
  by('text').textContent = made.predict + '\n\n' + made.text;
}

function press(button) {
  button.blur();  // or the next space or return would press it again
  if (button.disabled) return;
  if (button.id === 'blind') {
    const hidden = document.body.classList.toggle('blind');
    button.querySelector('span').textContent = (hidden ? 'show' : 'hide') + ' what is believed';
  }
  else if (button.dataset.label) act('answer', {place, label: button.dataset.label});
  else act(button.id, {});
}

for (const button of document.querySelectorAll('button')) button.onclick = () => press(button);
document.onkeydown = event => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code);  // on a French keyboard too
  const key = digit ? digit[1] : event.key.toLowerCase();
  const button = document.querySelector('[data-key="' + CSS.escape(key) + '"]');
  if (!button) return;
  event.preventDefault();
  press(button);
};
look();
