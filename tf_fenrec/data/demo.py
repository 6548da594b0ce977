"""A small generated shop: readable names, and an order that only shows when looking back beyond one item."""

from __future__ import annotations

import re

import numpy as np

from tf_fenrec.data.sequences import SequenceDataset

_USERS = 2500
_SEED = 20240

# What people buy in this order when they cook, build or plan something. No item stands in two lists.
_ROUTINES = """
Basmati rice, Red lentils, Curry paste, Coconut milk, Fresh ginger, Naan bread, Mango chutney, Raita, Papadums
Spaghetti, Tinned tomatoes, Garlic bulb, Basil plant, Olive oil, Parmesan, Ciabatta, Balsamic vinegar
Corn tortillas, Black beans, Avocado, Lime, Jalapenos, Sour cream, Grated cheddar, Hot sauce, Churros
Sushi rice, Nori sheets, Rice vinegar, Smoked salmon, Cucumber, Wasabi paste, Pickled ginger, Soy sauce, Mochi
Plain flour, Baking powder, Caster sugar, Unsalted butter, Cocoa powder, Cake tin, Icing sugar, Sprinkles
Bread flour, Dried yeast, Rye flour, Sunflower seeds, Proving basket, Baking stone, Bread knife, Bread bin
Porridge oats, Chia seeds, Almond milk, Blueberries, Maple syrup, Granola, Greek yoghurt, Honey
Charcoal, Firelighters, Barbecue tongs, Burger buns, Beef burgers, Corn cobs, Ketchup, Mustard, Marshmallows
Picnic blanket, Cool box, Ice packs, Sandwich bread, Sliced ham, Crisps, Lemonade, Paper plates, Frisbee
Green tea, Teapot, Tea strainer, Oolong tea, Tea cups, Ginger biscuits, Tea caddy, Earl Grey tea, Scones
Coffee beans, Coffee grinder, Paper filters, Pour-over cone, Gooseneck kettle, Milk frother, Espresso cups
Seed compost, Seed tray, Tomato seeds, Plant labels, Watering can, Bamboo canes, Garden twine, Tomato feed
Potting soil, Terracotta pot, Lavender plant, Hand trowel, Slug pellets, Gardening gloves, Secateurs
Lawn seed, Lawn rake, Garden hose, Sprinkler, Lawn mower, Edging shears, Leaf blower, Compost bin, Wheelbarrow
Masking tape, Dust sheets, Sandpaper, Wall filler, Primer, Paint tray, Paint roller, White emulsion
Tape measure, Spirit level, Pencil set, Cordless drill, Wall plugs, Wood screws, Shelf brackets, Oak shelf
Bicycle pump, Puncture kit, Inner tube, Tyre levers, Chain oil, Bike lights, Bike helmet, Pannier bag
Two-person tent, Tent pegs, Sleeping bag, Camping mat, Head torch, Camping stove, Gas canister, Mess tin
Running shoes, Sports socks, Running shorts, Water bottle, Heart-rate strap, Energy gels, Foam roller
Yoga mat, Yoga block, Yoga strap, Leggings, Meditation cushion, Incense, Essential oil, Oil diffuser
Swimming trunks, Goggles, Swim cap, Beach towel, Sun cream, Sunglasses, Straw hat, Beach ball, Aloe gel
Newborn nappies, Baby wipes, Muslin cloths, Baby bottles, Bottle brush, Baby monitor, Bibs, Weaning spoons
Puppy food, Dog bowl, Dog collar, Dog lead, Dog bed, Chew toy, Dog brush, Dog treats, Poop bags
Kitten food, Litter tray, Cat litter, Scratching post, Catnip mouse, Cat carrier, Cat flap, Cat brush
Fish tank, Aquarium gravel, Tank filter, Tank heater, Aquarium plants, Fish flakes, Algae scraper, Fish net
Watercolour paper, Watercolour set, Round brush, Flat brush, Palette, Easel, Masking fluid, Picture frame
Knitting needles, Merino wool, Stitch markers, Row counter, Cable needle, Tapestry needle, Blocking mat
School bag, Pencil case, Ballpoint pens, Exercise books, Ruler, Geometry set, Lunch box, Name labels
Laptop stand, Wireless mouse, Keyboard, Monitor, Desk lamp, Office chair, Webcam, Headset, Desk plant
Suitcase, Packing cubes, Travel adapter, Neck pillow, Toiletry bag, Luggage tag, Passport wallet, Travel towel
Wrapping paper, Sticky tape, Ribbon, Gift tags, Greeting card, Balloons, Party hats, Paper streamers, Cupcakes
Fairy lights, Tree stand, Baubles, Tinsel, Advent calendar, Mince pies, Crackers, Mulled wine, Star topper
"""

# What everybody buys now and then: noise between the routines, most bought first.
_STAPLES = "Milk, Bread, Bananas, Eggs, Toilet paper, Tomatoes, Orange juice, Washing-up liquid, Apples, Bin bags"

_STAPLES_SHARE = 0.1
_THREE_THREADS = 0.4


def demo_dataset() -> SequenceDataset:
    """Generates the demo shop: the same arrays everywhere, in well under a second.

    Every user works through shopping routines (ordered lists of products), two or three at once in turn,
    begins another when one is done, and picks up a staple now and then; nobody buys a product twice. So the
    next item mostly continues the routine of the item two or three back: popularity and the last item alone
    say little, a model of the sequence can say much.
    """
    routines = [_products(line) for line in _ROUTINES.strip().splitlines()]
    staples = _products(_STAPLES)
    names = [name for routine in routines for name in routine] + staples
    ids = {name: number for number, name in enumerate(names, start=1)}
    lists = [[ids[name] for name in routine] for routine in routines]
    staple_ids = [ids[name] for name in staples]
    random = np.random.Generator(np.random.PCG64(_SEED))
    sequences = [_shop(random, lists, staple_ids) for _ in range(_USERS)]
    return SequenceDataset(
        name="demo",
        items=np.concatenate(sequences).astype(np.int32),
        offsets=np.cumsum([0, *map(len, sequences)], dtype=np.int64),
        num_items=len(names),
        item_ids=tuple(re.sub(r"[^a-z]+", "-", name.lower()) for name in names),
        item_names=tuple(names),
    )


def _products(text: str) -> list[str]:
    return [product.strip() for product in text.split(",")]


def _shop(random: np.random.Generator, routines: list[list[int]], staples: list[int]) -> list[int]:
    """One user's sequence of 5 to 30 items."""

    def pick(count: int) -> int:
        """A number below `count`, small ones more often: the floor of count x (a uniform squared)."""
        return int(count * random.random() ** 2)

    length = 5 + pick(26)
    unused = list(routines)
    stock = list(staples)
    threads: list[list[int]] = [[] for _ in range(3 if random.random() < _THREE_THREADS else 2)]
    turn = 0
    history: list[int] = []
    while len(history) < length:
        if stock and random.random() < _STAPLES_SHARE:
            history.append(stock.pop(pick(len(stock))))
            continue
        if not threads[turn]:
            begin = int(3 * random.random())
            threads[turn] = unused.pop(pick(len(unused)))[begin:]
        history.append(threads[turn].pop(0))
        turn = (turn + 1) % len(threads)
    return history
