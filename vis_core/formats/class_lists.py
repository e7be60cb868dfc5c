"""Class lists of the public data sets and the maps from COCO's classes to theirs.

The lists are identical in nine public repositories and the maps in seven (CTVIS, VITA and others);
"Vehical" is how OVIS spells it. About half of the video classes have no source in COCO.
"""

from vis_core.formats.categories import Categories, numbered

_COCO_IDS_LEFT_OUT = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat",
    "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack",
    "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball",
    "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket",
    "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair",
    "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote",
    "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book",
    "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
_YTVIS_2019 = (
    "person", "giant_panda", "lizard", "parrot", "skateboard", "sedan", "ape", "dog", "snake",
    "monkey", "hand", "rabbit", "duck", "cat", "cow", "fish", "train", "horse", "turtle",
    "bear", "motorbike", "giraffe", "leopard", "fox", "deer", "owl", "surfboard", "airplane",
    "truck", "zebra", "tiger", "elephant", "snowboard", "boat", "shark", "mouse", "frog",
    "eagle", "earless_seal", "tennis_racket",
)  # fmt: skip
_YTVIS_2021 = (
    "airplane", "bear", "bird", "boat", "car", "cat", "cow", "deer", "dog", "duck",
    "earless_seal", "elephant", "fish", "flying_disc", "fox", "frog", "giant_panda", "giraffe",
    "horse", "leopard", "lizard", "monkey", "motorbike", "mouse", "parrot", "person", "rabbit",
    "shark", "skateboard", "snake", "snowboard", "squirrel", "surfboard", "tennis_racket",
    "tiger", "train", "truck", "turtle", "whale", "zebra",
)  # fmt: skip
_OVIS = (
    "Person", "Bird", "Cat", "Dog", "Horse", "Sheep", "Cow", "Elephant", "Bear", "Zebra",
    "Giraffe", "Poultry", "Giant_panda", "Lizard", "Parrot", "Monkey", "Rabbit", "Tiger",
    "Fish", "Turtle", "Bicycle", "Motorcycle", "Airplane", "Boat", "Vehical",
)  # fmt: skip

CLASS_LISTS: dict[str, Categories] = {
    "coco": Categories(tuple(i for i in range(1, 91) if i not in _COCO_IDS_LEFT_OUT), _COCO),
    "ytvis_2019": numbered(_YTVIS_2019),
    "ytvis_2021": numbered(_YTVIS_2021),
    "ytvis_2022": numbered(_YTVIS_2021),  # its long videos are new, its classes are not
    "ovis": numbered(_OVIS),
}

_COCO_TO_YTVIS_2019 = {
    "person": "person", "bicycle": "motorbike", "car": "sedan", "motorcycle": "motorbike",
    "airplane": "airplane", "train": "train", "truck": "truck", "boat": "boat", "cat": "cat",
    "dog": "dog", "horse": "horse", "cow": "cow", "elephant": "elephant", "bear": "bear",
    "zebra": "zebra", "giraffe": "giraffe", "skis": "snowboard", "snowboard": "snowboard",
    "skateboard": "skateboard", "surfboard": "surfboard", "tennis racket": "tennis_racket",
}  # fmt: skip
_COCO_TO_YTVIS_2021 = {
    "person": "person", "bicycle": "motorbike", "car": "car", "motorcycle": "motorbike",
    "airplane": "airplane", "train": "train", "truck": "truck", "boat": "boat", "bird": "bird",
    "cat": "cat", "dog": "dog", "horse": "horse", "cow": "cow", "elephant": "elephant", "bear":
    "bear", "zebra": "zebra", "giraffe": "giraffe", "frisbee": "flying_disc", "skis":
    "snowboard", "snowboard": "snowboard", "skateboard": "skateboard", "surfboard": "surfboard",
    "tennis racket": "tennis_racket",
}  # fmt: skip
_COCO_TO_OVIS = {
    "person": "Person", "bicycle": "Bicycle", "car": "Vehical", "motorcycle": "Motorcycle",
    "airplane": "Airplane", "bus": "Vehical", "truck": "Vehical", "boat": "Boat", "cat": "Cat",
    "dog": "Dog", "horse": "Horse", "sheep": "Sheep", "cow": "Cow", "elephant": "Elephant",
    "bear": "Bear", "zebra": "Zebra", "giraffe": "Giraffe",
}  # fmt: skip

FROM_COCO: dict[str, dict[str, str]] = {
    "ytvis_2019": _COCO_TO_YTVIS_2019,
    "ytvis_2021": _COCO_TO_YTVIS_2021,
    "ytvis_2022": _COCO_TO_YTVIS_2021,
    "ovis": _COCO_TO_OVIS,
}
