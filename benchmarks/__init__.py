"""What we claim about speed, each claim a row that is measured against its peer: ``make bench``.

How a row is added
------------------
1. In a file of this folder (any name; it is found by being here) write a function that measures, and list it:

        def _decode(quick: bool) -> Outcome:
            pictures = load(5 if quick else 92)
            timing = take_turns(lambda: ours(pictures), lambda: peers(pictures), quick=quick)
            return Outcome(*timing, is_right=same(...), note="92 pictures, 640 x 480")

        ROWS = (
            Row(name="decode", what="pictures decoded", against="Pillow", measure=_decode, at_least=4, stretch=10),
        )

   ``Row`` and ``Outcome`` are in ``benchmarks/row.py``, ``take_turns`` in ``benchmarks/timing.py``.
   ``at_least`` judges peer / ours ("times as fast"); ``at_most`` judges ours / peer ("a part of the peer's").
   ``floor`` is for work that only the machine's memory bounds: what it takes at the least, in the same rounds.
   ``is_right`` is whether results agree with the peer's, where they must. With ``quick`` little data is enough:
   then only ``is_right`` is judged. Imports at the top of the file should be cheap enough to list the rows by;
   what is heavy (Ray) is imported in the function.
2. ``make bench ROW=decode`` (or ``python -m benchmarks decode``) measures it and writes its line of RESULTS.md.
   Several names and names of files are allowed: ``python -m benchmarks decode evaluation``; ``--quick`` writes nothing.
3. All rows together must stay under 40 minutes.

Every row is measured in a process of its own, with one thread, in turns with its peer; what counts is CPU time of that
process (and of its children where the row says so), since other load on the machine hardly moves it.

Other claims are judged by commands of their own, which exit with 1 when they do not hold: ``python -m benchmarks.NAME``
of ``parity`` (numbers equal to torchvision's), ``data_index`` (memory of a large data set), ``shared_trunks`` (the same
bits for fewer iterations), ``tracking`` (what Weights & Biases costs). ``architectures`` and ``gpu_hours`` print tables
of the documentation, ``precision`` what bf16 costs in AP.
"""
