"""Names and colours of the classes of COCO-Stuff, ADE20K and Cityscapes, in the order of their label files."""

from i2i_rt.spec import LabelInfo

# Caesar et al. 2018, arXiv:1612.03716; label files count from 0, one less than the published list
COCO_STUFF = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street sign, stop
sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, hat, backpack,
umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat,
baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife, spoon, bowl,
banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed,
mirror, dining table, window, desk, toilet, door, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven,
toaster, sink, refrigerator, blender, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, hair brush,
banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other,
ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble,
floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel,
ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper,
pavement, pillow, plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug,
salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table,
tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone,
wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood
"""

# Zhou et al. 2017, the scene parsing benchmark: 0 in a label file is no class, and the classes count from 1
ADE20K = """
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair,
seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers,
counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table,
pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench,
countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel,
light, truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane, dirt track, apparel,
pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt,
canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball,
food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood,
sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator,
glass, clock, flag
"""
ADE20K_COLOURS = """
787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33 ff0652
8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff 08ffd6 07ffe0
ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff
8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff 0bc8c8 ff5200 00fff5 003dff
00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff
ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff
00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070
5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500
0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff
b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""

# Cordts et al. 2016, arXiv:1604.01685: "id" of the data set's scripts; the last one has the id -1 there
CITYSCAPES = """
unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground, road, sidewalk, parking, rail
track, building, wall, fence, guard rail, bridge, tunnel, pole, polegroup, traffic light, traffic sign, vegetation,
terrain, sky, person, rider, car, truck, bus, caravan, trailer, train, motorcycle, bicycle, license plate
"""
CITYSCAPES_COLOURS = """
000000 000000 000000 000000 000000 6f4a00 510051 804080 f423e8 faaaa0 e6968c 464646 66669c be9999 b4a5b4 966464
96785a 999999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000 00008e 000046 003c64 00005a 00006e 005064
0000e6 770b20 00008e
"""


def label_info(data_set: str, classes: int, *, unknown: bool, edges: bool) -> LabelInfo:
    """Describes the labels of a network.

    Args:
        data_set: "coco", "ade20k" or "cityscapes"; others get numbers for names.
        classes: how many classes the network knows. Where it is not as many as the data set has, the names are numbers.
        unknown: whether the network has a channel for pixels of no known class.
        edges: whether it takes edges between instances.
    """
    if data_set == "coco" and classes == 182:
        return LabelInfo(_names(COCO_STUFF), _pascal_colours(classes), unknown, edges)
    if data_set == "cityscapes" and classes == 35:
        return LabelInfo(_names(CITYSCAPES), _colours(CITYSCAPES_COLOURS), unknown, edges)
    if data_set == "ade20k" and classes == 150 and unknown:
        # the files' 0 has the first channel, the last class shares its channel with 255
        names, colours = ("unknown", *_names(ADE20K)), ((0, 0, 0), *_colours(ADE20K_COLOURS))
        return LabelInfo(names, colours, unknown, edges)
    return LabelInfo(tuple(f"class {index}" for index in range(classes)), _pascal_colours(classes), unknown, edges)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.strip().replace("\n", " ").split(", "))


def _colours(text: str) -> tuple[tuple[int, int, int], ...]:
    return tuple((int(word[:2], 16), int(word[2:4], 16), int(word[4:], 16)) for word in text.split())


def _pascal_colours(classes: int) -> tuple[tuple[int, int, int], ...]:
    """Gives the colours of PASCAL VOC's rule, the first one, black, left out: it shows what is unknown.

    Bits 0, 3, 6 of a number make the highest bits of red, bits 1, 4, 7 of green and 2, 5, 8 of blue.
    """

    def level(number: int, channel: int) -> int:
        return sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8))

    return tuple((level(number, 0), level(number, 1), level(number, 2)) for number in range(1, classes + 1))
